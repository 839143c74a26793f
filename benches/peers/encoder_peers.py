"""Sentence encoders: the same model, MiniLM, by several libraries. Each reads a list of texts once and is then timed on parts of it.

All cut texts at 256 tokens and give vectors of length 1. Where a library does not do it by itself, texts are put in the order of their
lengths before they are batched, as one who wants speed would.
"""

import json
import time
from pathlib import Path

import numpy as np

TOKENS = 256
BATCH = 32


class Contender:
    def load(self, texts: str, queries: list[str], reference: str, onnx: str) -> dict:
        self.texts: list[str] = json.loads(Path(texts).read_text(encoding="utf-8"))
        self.queries = queries
        started = time.perf_counter()
        self.make(reference, onnx)
        loaded = time.perf_counter() - started
        self.many(self.texts[:8])
        self.one(queries[0])
        return {"seconds": loaded, "note": self.note()}

    def part(self, first: int, last: int) -> dict:
        started, cpu = time.perf_counter(), time.process_time()
        self.many(self.texts[first:last])
        return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}

    def single(self, first: int, last: int) -> dict:
        # The first calls after another contender's turn find cold caches, which a service does not have.
        self.one(self.queries[0])
        seconds = []
        for query in self.queries[first:last]:
            started = time.perf_counter()
            self.one(query)
            seconds.append(time.perf_counter() - started)
        return {"seconds": seconds}

    def short(self) -> dict:
        started = time.perf_counter()
        self.many(self.queries)
        return {"seconds": time.perf_counter() - started}

    def vectors(self, count: int, out: str) -> dict:
        np.save(out, np.asarray(self.many(self.texts[:count]), dtype=np.float32))
        return {}

    def note(self) -> str:
        return ""

    def make(self, reference: str, onnx: str) -> None:
        raise NotImplementedError

    def many(self, texts: list[str]) -> np.ndarray:
        raise NotImplementedError

    def one(self, query: str) -> np.ndarray:
        return self.many([query])


class Adam(Contender):
    precision = "f32"

    def make(self, reference, onnx):
        import adam_search

        self.encoder = adam_search.Encoder(onnx, precision=self.precision, max_length=TOKENS)

    def many(self, texts):
        return self.encoder.encode(texts)

    def one(self, query):
        return self.encoder.encode_query([query])


class AdamInt8(Adam):
    precision = "int8"


class SentenceTransformers(Contender):
    options: dict = {}

    def make(self, reference, onnx):
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(self.folder(reference, onnx), device="cpu", **self.options)
        self.model.max_seq_length = TOKENS

    def folder(self, reference, onnx):
        return reference

    def many(self, texts):
        return self.model.encode(texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)


class SentenceTransformersBf16(SentenceTransformers):
    options = {"model_kwargs": {"torch_dtype": "bfloat16"}}

    def many(self, texts):
        # NumPy has no bf16.
        found = self.model.encode(texts, batch_size=BATCH, convert_to_tensor=True, show_progress_bar=False)
        found = found.float()
        return (found / found.norm(dim=1, keepdim=True)).numpy()


class SentenceTransformersOnnx(SentenceTransformers):
    options = {"backend": "onnx", "model_kwargs": {"file_name": "onnx/model.onnx", "provider": "CPUExecutionProvider"}}

    def folder(self, reference, onnx):
        return onnx


class Batched(Contender):
    """Tokens by Hugging Face's tokenizers, in batches of texts of like lengths; a subclass makes states of them."""

    def make(self, reference, onnx):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(f"{onnx}/tokenizer.json")
        self.tokenizer.enable_truncation(TOKENS)
        self.tokenizer.enable_padding()
        self.tokenizer.no_padding()
        self.open(onnx)

    def open(self, onnx: str) -> None:
        raise NotImplementedError

    def states(self, batches: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
        raise NotImplementedError

    def many(self, texts):
        tokens = self.tokenizer.encode_batch(texts)
        order = sorted(range(len(tokens)), key=lambda at: -len(tokens[at].ids))
        groups = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        batches = []
        for group in groups:
            shape = (len(group), len(tokens[group[0]].ids))
            ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
            for row, at in enumerate(group):
                ids[row, : len(tokens[at].ids)] = tokens[at].ids
                mask[row, : len(tokens[at].ids)] = 1
            batches.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, dtype=np.int64)})
        out = None
        for group, batch, states in zip(groups, batches, self.states(batches), strict=True):
            mask = batch["attention_mask"][..., None].astype(np.float32)
            mean = (states * mask).sum(1) / mask.sum(1)
            mean /= np.linalg.norm(mean, axis=1, keepdims=True)
            if out is None:
                out = np.empty((len(texts), mean.shape[1]), dtype=np.float32)
            out[group] = mean
        return out


class OnnxRuntime(Batched):
    file = "onnx/model.onnx"

    def open(self, onnx):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(f"{onnx}/{self.file}", providers=["CPUExecutionProvider"])
        self.names = {item.name for item in self.session.get_inputs()}

    def states(self, batches):
        return [
            self.session.run(["last_hidden_state"], {name: batch[name] for name in batch if name in self.names})[0]
            for batch in batches
        ]


class OnnxRuntimeInt8(OnnxRuntime):
    file = "onnx/model_quantized.onnx"


class OpenVino(Batched):
    """Many texts by asynchronous requests of a model compiled for throughput, one query by a model compiled for latency."""

    file = "onnx/model.onnx"
    precision = "f32"

    def open(self, onnx):
        import openvino

        core = openvino.Core()
        model = core.read_model(f"{onnx}/{self.file}")
        self.names = {item.get_any_name() for item in model.inputs}
        self.output = next(at for at, item in enumerate(model.outputs) if "last_hidden_state" in item.get_names())
        settings = {"INFERENCE_PRECISION_HINT": self.precision}
        self.fast = core.compile_model(model, "CPU", {**settings, "PERFORMANCE_HINT": "THROUGHPUT"})
        self.quick = core.compile_model(model, "CPU", {**settings, "PERFORMANCE_HINT": "LATENCY"})
        self.request = self.quick.create_infer_request()
        self.queue = openvino.AsyncInferQueue(self.fast)
        self.results: list = []
        self.queue.set_callback(self.take)

    def take(self, request, at):
        self.results[at] = np.array(request.get_output_tensor(self.output).data)

    def states(self, batches):
        feeds = [{name: batch[name] for name in batch if name in self.names} for batch in batches]
        if len(feeds) == 1:
            self.request.infer(feeds[0])
            return [np.array(self.request.get_output_tensor(self.output).data)]
        self.results = [None] * len(feeds)
        for at, feed in enumerate(feeds):
            self.queue.start_async(feed, at)
        self.queue.wait_all()
        return self.results

    def note(self):
        used = self.fast.get_property("INFERENCE_PRECISION_HINT").to_string()
        return f"asked for {self.precision}, computes in {used}"


class OpenVinoBf16(OpenVino):
    precision = "bf16"


class OpenVinoInt8(OpenVino):
    file = "onnx/model_quantized.onnx"


class FastEmbed(Contender):
    file = "onnx/model.onnx"

    def make(self, reference, onnx):
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType

        name = f"local/{self.file}"
        TextEmbedding.add_custom_model(
            model=name, pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf=name), dim=384,
            model_file=self.file,
        )
        self.model = TextEmbedding(model_name=name, specific_model_path=onnx)

    def many(self, texts):
        # fastembed pads each batch to its longest text and does not sort.
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        found = list(self.model.embed([texts[at] for at in order], batch_size=BATCH))
        out = np.empty((len(texts), len(found[0])), dtype=np.float32)
        out[order] = found
        return out

    def one(self, query):
        return next(iter(self.model.embed([query])))


class FastEmbedInt8(FastEmbed):
    file = "onnx/model_quantized.onnx"
