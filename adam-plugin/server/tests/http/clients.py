"""The official `openai` client and `huggingface_hub`'s InferenceClient against `adam serve`: both must get the same vectors."""

import asyncio
import math

import openai
from huggingface_hub import InferenceClient

from served import served

TEXTS = ["New Caledonian crows bend wire into hooks.", "Molten sand that cools fast becomes glass.", "caf\u00e9 \U0001f426", ""]


def distance(ours, theirs):
    assert len(ours) == len(theirs), (len(ours), len(theirs))
    return max(abs(a - b) for a, b in zip(ours, theirs))


def main():
    with served("--api-key", "sesame") as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="sesame", max_retries=0)
        # Without a format the client asks for base64 and decodes it.
        coded = client.embeddings.create(model="text-embedding-3-small", input=TEXTS)
        plain = client.embeddings.create(model="text-embedding-3-small", input=TEXTS, encoding_format="float")
        assert [one.index for one in plain.data] == list(range(len(TEXTS)))
        assert plain.usage.total_tokens == plain.usage.prompt_tokens > len(TEXTS)
        worst = max(distance(a.embedding, b.embedding) for a, b in zip(coded.data, plain.data))
        assert worst < 1e-7, worst  # the shortest decimal of an f32 is not that f32 as a float of Python
        for one in plain.data:
            assert abs(math.sqrt(sum(value * value for value in one.embedding)) - 1) < 1e-5
        short = client.embeddings.create(model="m", input=TEXTS[0], dimensions=64).data[0].embedding
        assert len(short) == 64 and abs(math.sqrt(sum(value * value for value in short)) - 1) < 1e-5
        assert [model.id for model in client.models.list()] == [plain.model]

        # Whatever the model is called, there is one.
        for name in ["", "/data/model", "./BAAI/bge-m3", "../../etc/passwd"]:
            named = client.embeddings.create(model=name, input=TEXTS[0], encoding_format="float")
            assert distance(named.data[0].embedding, plain.data[0].embedding) == 0, name

        hub = InferenceClient(model=f"{address}/embed", token="sesame")
        rows = [hub.feature_extraction(text) for text in TEXTS]
        at_root = InferenceClient(model=address, token="sesame")
        assert all(distance(at_root.feature_extraction(text)[0].tolist(), row[0].tolist()) < 1e-6 for text, row in zip(TEXTS, rows))
        worst = max(distance(row[0].tolist(), one.embedding) for row, one in zip(rows, plain.data))
        print(f"openai and huggingface_hub: {len(TEXTS)} texts, largest difference {worst:.1e}")
        assert worst < 1e-5
        cut = hub.feature_extraction("word " * 5000, truncate=True, normalize=True, truncation_direction="right")
        assert len(cut[0]) == len(plain.data[0].embedding)

        many = [f"text number {number} about crows and glass" for number in range(500)]
        batch = client.embeddings.create(model="m", input=many)
        assert len(batch.data) == len(many)

        async def together():
            several = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="sesame", max_retries=0)
            answers = await asyncio.gather(*(several.embeddings.create(model="m", input=text) for text in many[:64]))
            return [answer.data[0].embedding for answer in answers]

        alone = asyncio.run(together())
        worst = max(distance(a, b.embedding) for a, b in zip(alone, batch.data))
        print(f"openai: one by one from 64 tasks against one batch of {len(many)}: largest difference {worst:.1e}")
        assert worst < 1e-4

        # Errors arrive as the client's own kinds, with our sentence in them.
        stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0)
        for call, kind, said in [
            (lambda: stranger.embeddings.create(model="m", input="a"), openai.AuthenticationError, "API key"),
            (lambda: client.embeddings.create(model="m", input="a", dimensions=9999), openai.UnprocessableEntityError, "dimensions"),
            (lambda: client.embeddings.create(model="m", input=[[1, 2, 3]]), openai.UnprocessableEntityError, "send the text"),
        ]:
            try:
                call()
            except kind as fault:
                assert said in str(fault), fault
            else:
                raise AssertionError(f"no {kind.__name__}")
    print("clients: all as it should be")


if __name__ == "__main__":
    main()
