"""Training speed against sentence-transformers and a plain PyTorch loop, on the same texts, on this machine.

    python trainer/tests/parity/speed.py --data scifact.zip --model .native/all-MiniLM-L6-v2 --program target/release/adam-train
    python trainer/tests/parity/speed.py ... --device cuda --batch 128 --shape bert-base --settings loop,loop+grouped --json speed.json

All train on the same pairs (query, passage as it is) with the same loss (in-batch negatives, scale 20), the same number of pairs a
step, the same cap on lengths and AdamW, each in a process of its own, taking turns. Counted are real tokens (no padding) over the
time of the training loop, the first steps left out. What ours is compared with runs with each of the settings named by --settings:

    default, no-dropout, +grouped, +bf16     sentence-transformers' own trainer (needs datasets and accelerate)
    loop, loop+grouped, loop+f32             a bare PyTorch loop over transformers' model: SDPA, fused AdamW, bf16 autocast on CUDA, texts
                                             tokenised before, no logging; grouped: pairs sorted by length before they are batched

Floating-point operations are those of the model alone, 3 forward passes a real token; their share of what the device can do
(--peak-tflops; known for H100 and H200) is the model FLOPs utilisation. --shape bert-base trains random weights of BERT-base's size.
"""

import argparse
import csv
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

# On a GPU memory is taken piece by piece, and kernels are chosen, until all lengths of batches have been seen.
WARM_UP_STEPS = {"cpu": 2, "cuda": 20}


def warm_up_steps(arguments):
    """How many steps are left out; half of them where there are few."""
    return min(WARM_UP_STEPS[arguments.device], len(json.loads(Path(arguments.pairs).read_text())) // arguments.batch // 2)
# Dense bf16, by the datasheet.
PEAKS = {"H200": 989.0, "H100": 989.0}


def pairs_of(path, count):
    """Queries of the training split with their first judged passage, as a BEIR archive or folder has them."""
    if path.is_dir():
        read = lambda name: (path / name).read_text()
    else:
        archive = zipfile.ZipFile(path)
        names = {"/".join(Path(n).parts[1:]) if n.count("/") else n: n for n in archive.namelist()}
        names |= {n: n for n in archive.namelist()}
        read = lambda name: archive.read(names[name]).decode()
    rows = lambda name: [json.loads(line) for line in read(name).splitlines() if line.strip()]
    corpus = {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in rows("corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in rows("queries.jsonl")}
    pairs, seen = [], set()
    for row in list(csv.reader(io.StringIO(read("qrels/train.tsv")), delimiter="\t"))[1:]:
        query, document, grade = row[0], row[1], int(row[2])
        if grade > 0 and document in corpus and query not in seen and document not in seen:
            seen |= {query, document}
            pairs.append((queries[query], corpus[document]))
    return pairs[:count]


def grouped(lengths, batch):
    """Batches of pairs whose passages are of about one length, in random order."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    batches = [order[i : i + batch] for i in range(0, len(order), batch)]
    random.Random(1).shuffle(batches)
    return [b for b in batches if len(b) == batch]


def trainer_of_theirs(arguments, settings):
    """One run of sentence-transformers' own trainer; gives tokens a second and what it padded."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback, set_seed

    set_seed(1)
    cuda = arguments.device == "cuda"
    pairs = json.loads(Path(arguments.pairs).read_text())
    model = SentenceTransformer(arguments.model, device=arguments.device, local_files_only=True)
    model.max_seq_length = arguments.length
    if "no-dropout" in settings:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            # Attention keeps its probability in a number of its own.
            if hasattr(module, "dropout_prob"):
                module.dropout_prob = 0.0
        model[0].auto_model.config.attention_probs_dropout_prob = 0.0
    first = warm_up_steps(arguments)
    counted = {"real": 0, "padded": 0, "steps": 0, "began": None}

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            counted["steps"] += 1
            if counted["steps"] == first:
                if cuda:
                    torch.cuda.synchronize()
                counted["began"], counted["cpu"] = time.perf_counter(), time.process_time()
                counted["real"] = counted["padded"] = 0

    forward = model.forward

    def counting(features, **kwargs):
        mask = features["attention_mask"]
        # On a GPU the sum is read at the end, so that counting does not make the host wait.
        counted["real"] = counted["real"] + (mask.sum() if cuda else int(mask.sum()))
        counted["padded"] += mask.numel()
        return forward(features, **kwargs)

    model.forward = counting
    with tempfile.TemporaryDirectory() as folder:
        options = SentenceTransformerTrainingArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=arguments.batch, learning_rate=2e-5,
            use_cpu=not cuda, bf16="bf16" in settings or cuda, save_strategy="no", logging_strategy="no", report_to=[],
            disable_tqdm=True, dataloader_drop_last=True, seed=1,
        )
        trainer = SentenceTransformerTrainer(
            model=model, args=options, loss=MultipleNegativesRankingLoss(model, scale=20.0), callbacks=[Clock()],
            train_dataset=Dataset.from_dict({"anchor": [p[0] for p in pairs], "positive": [p[1] for p in pairs]}),
        )
        if "grouped" in settings:
            # Not a setting of theirs: pairs sorted by length, so that a batch holds passages of one length.
            batches = grouped([len(model.tokenizer(p[1])["input_ids"]) for p in pairs], arguments.batch)
            trainer.get_batch_sampler = lambda *a, **k: batches
        trainer.train()
    if cuda:
        torch.cuda.synchronize()
    seconds, cpu = time.perf_counter() - counted["began"], time.process_time() - counted["cpu"]
    real = int(counted["real"])
    found = {"tokens_per_second": real / seconds, "padding": 1 - real / counted["padded"]}
    # On a machine that is busy otherwise, the work done by a second of processor time says more than the clock.
    return found | {"tokens_per_cpu_second": real / cpu}


def bare_loop(arguments, settings):
    """The least that a training loop in PyTorch does, over transformers' model."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.manual_seed(1)
    cuda = arguments.device == "cuda"
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, local_files_only=True)
    model = AutoModel.from_pretrained(
        arguments.model, attn_implementation="sdpa", dtype=torch.float32, local_files_only=True, add_pooling_layer=False,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    ).to(arguments.device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.0, fused=True)
    pairs = json.loads(Path(arguments.pairs).read_text())
    ids = lambda texts: tokenizer(texts, truncation=True, max_length=arguments.length)["input_ids"]
    sides = [ids([p[0] for p in pairs]), ids([p[1] for p in pairs])]
    if "grouped" in settings:
        batches = grouped([len(i) for i in sides[1]], arguments.batch)
    else:
        order = list(range(len(pairs)))
        random.Random(1).shuffle(order)
        batches = [order[i : i + arguments.batch] for i in range(0, len(order) - arguments.batch + 1, arguments.batch)]
    made, real, padded = [], [], []
    for batch in batches:
        inputs, tokens, cells = [], 0, 0
        for side in sides:
            texts = [side[i] for i in batch]
            width = max(map(len, texts))
            rows = torch.zeros(len(texts), width, dtype=torch.long)
            mask = torch.zeros(len(texts), width, dtype=torch.long)
            for row, text in enumerate(texts):
                rows[row, : len(text)] = torch.tensor(text)
                mask[row, : len(text)] = 1
            inputs.append((rows.pin_memory(), mask.pin_memory()) if cuda else (rows, mask))
            tokens, cells = tokens + sum(map(len, texts)), cells + rows.numel()
        made.append(inputs)
        real.append(tokens)
        padded.append(cells)
    bf16 = "f32" not in settings and (cuda or "bf16" in settings)

    def embed(rows, mask):
        rows, mask = rows.to(arguments.device, non_blocking=True), mask.to(arguments.device, non_blocking=True)
        hidden = model(input_ids=rows, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(pooled.float(), dim=1)

    first = warm_up_steps(arguments)
    began = time.perf_counter()
    for step, inputs in enumerate(made):
        if step == first:
            if cuda:
                torch.cuda.synchronize()
            began = time.perf_counter()
        with torch.autocast(arguments.device, dtype=torch.bfloat16, enabled=bf16):
            queries, passages = (embed(*side) for side in inputs)
        scores = queries @ passages.T * 20.0
        loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    tokens, cells = sum(real[first:]), sum(padded[first:])
    return {"tokens_per_second": tokens / seconds, "padding": 1 - tokens / cells}


def theirs(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    settings = set(arguments.setting.split("+"))
    print(json.dumps(bare_loop(arguments, settings) if "loop" in settings else trainer_of_theirs(arguments, settings)))


def ours(arguments, folder):
    """One run of `adam-train warm-up`."""
    output = Path(tempfile.mkdtemp(dir=folder))
    rows = "".join(
        json.dumps({"query": q, "pos": [p], "neg": []}) + "\n" for q, p in json.loads(Path(arguments.pairs).read_text())
    )
    (output / "pairs.jsonl").write_text(rows)
    settings = {"run.threads": arguments.threads, "run.device": arguments.device, "warm_up.training.most_tokens": 1 << 24}
    if arguments.micro_tokens:
        settings["warm_up.training.micro_tokens"] = arguments.micro_tokens
    if arguments.precision:
        settings["run.precision"] = arguments.precision
    if arguments.packing:
        settings["run.packing"] = arguments.packing
    configuration = f"""
[run]
output = "run"
[data]
path = "pairs.jsonl"
[student]
model = "{Path(arguments.model).resolve()}"
query_length = {arguments.length}
passage_length = {arguments.length}
[warm_up]
negatives = 0
[warm_up.training]
epochs = 1
queries_per_step = {arguments.batch}
evaluations = 0
[mine]
dense = false
[eval]
enabled = false
"""
    (output / "speed.toml").write_text(configuration)
    command = [arguments.program, "warm-up", str(output / "speed.toml")]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    done = subprocess.run(command, capture_output=not arguments.verbose, text=True)
    if done.returncode:
        raise RuntimeError(f"adam-train failed:\n{done.stderr}")
    rows = [json.loads(line) for line in (output / "run/metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["stage"] == "warm-up" and "loss" in row][warm_up_steps(arguments):]
    tokens, seconds = sum(r["tokens"] for r in rows), sum(r["seconds"] for r in rows)
    padded = sum(r["tokens"] / (1 - r["padding"]) for r in rows)
    flops = sum(r["flops"] for r in rows) / tokens
    return {"tokens_per_second": tokens / seconds, "padding": 1 - tokens / padded, "flops_per_token": flops}


def child(arguments, setting):
    command = [sys.executable, __file__, "--theirs", "--setting", setting, "--pairs", arguments.pairs, "--model", arguments.model]
    command += ["--threads", str(arguments.threads), "--batch", str(arguments.batch), "--length", str(arguments.length)]
    command += ["--device", arguments.device]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{setting} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def random_model(arguments, folder):
    """BERT-base with random weights and the tokenizer of --model."""
    import shutil

    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    output = Path(folder) / "bert-base"
    BertModel(BertConfig(), add_pooling_layer=False).save_pretrained(output)
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"]:
        if (Path(arguments.model) / name).is_file():
            shutil.copy(Path(arguments.model) / name, output / name)
    (output / "1_Pooling").mkdir()
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    rows = [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{m}"} for i, (m, p) in enumerate(modules)]
    (output / "2_Normalize").mkdir()
    (output / "modules.json").write_text(json.dumps(rows))
    (output / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 768, "pooling_mode_mean_tokens": True}))
    (output / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512, "do_lower_case": False}))
    return str(output)


def peak_of(arguments):
    """What the device can do in dense bf16, in TFLOP/s, where that is known."""
    if arguments.peak_tflops or arguments.device != "cuda":
        return arguments.peak_tflops
    done = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return next((peak for name, peak in PEAKS.items() if name in done.stdout), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--program")
    parser.add_argument("--shape", choices=["minilm-l6", "bert-base"], default="minilm-l6", help="minilm-l6: --model as it is")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "bf16"], help="ours; by default as the device is fastest")
    parser.add_argument("--packing", choices=["on", "off"], help="ours; by default as the device is fastest")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=256, help="pairs trained on in a run")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--micro-tokens", type=int, default=0, help="ours; 0: as the device is fastest")
    parser.add_argument("--settings", default="default,no-dropout,no-dropout+grouped")
    parser.add_argument("--peak-tflops", type=float, help="what the device can do, for the model FLOPs utilisation")
    parser.add_argument("--json", type=Path, help="write the results there too")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--setting", default="default", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        return theirs(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.shape == "bert-base":
            arguments.model = random_model(arguments, folder)
        pairs = pairs_of(arguments.data, arguments.count)
        arguments.pairs = str(Path(folder) / "pairs.json")
        Path(arguments.pairs).write_text(json.dumps(pairs))
        print(
            f"{arguments.shape} on {arguments.device}: {len(pairs)} pairs, {arguments.batch} a step, at most {arguments.length} "
            f"tokens, {arguments.threads} threads"
        )
        found = {}
        for turn in range(arguments.rounds):
            runs = [("adam-train", lambda: ours(arguments, folder))]
            runs += [(s, lambda s=s: child(arguments, s)) for s in arguments.settings.split(",") if s]
            # Whoever goes first meets a cooler machine.
            for name, run in runs if turn % 2 == 0 else reversed(runs):
                try:
                    made = run()
                except RuntimeError as error:
                    # The others are still worth their time; a comparison without ours is not.
                    if name == "adam-train":
                        raise
                    print(f"  round {turn + 1}  {name:<30} broke: {error}", flush=True)
                    continue
                found.setdefault(name, []).append(made)
                speed, padding = made["tokens_per_second"], 100 * made["padding"]
                print(f"  round {turn + 1}  {name:<30} {speed:9.0f} tokens/s, padding {padding:4.1f} %", flush=True)
                if "adam-train" in found and arguments.json:
                    # After each of them, so that a run that is cut short says what it has.
                    arguments.json.write_text(json.dumps(report(arguments, found), indent=1))
        for row in report(arguments, found):
            share = f", {100 * row['utilisation']:.1f} % of what the device can do" if row["utilisation"] else ""
            print(
                f"median {row['who']:<30} {row['tokens_per_second']:9.0f} tokens/s, {row['teraflops']:.3f} TFLOP/s{share}; adam-train is "
                f"{row['adam_train_is_faster_by']:.2f} times as fast"
            )


def report(arguments, found):
    """A row for each contestant, of the medians so far."""
    flops, peak = found["adam-train"][0]["flops_per_token"], peak_of(arguments)
    medians = {name: statistics.median(r["tokens_per_second"] for r in rows) for name, rows in found.items()}
    rows = []
    for name, value in medians.items():
        teraflops = value * flops / 1e12
        rows.append({
            "shape": arguments.shape, "device": arguments.device, "batch": arguments.batch, "who": name,
            "tokens_per_second": value, "teraflops": teraflops, "utilisation": teraflops / peak if peak else None,
            "adam_train_is_faster_by": medians["adam-train"] / value, "rounds": len(found[name]),
        })
    return rows



if __name__ == "__main__":
    main()
