"""Training speed against sentence-transformers from PyPI: MiniLM-L6, SciFact passages as they are, on this machine's CPU.

    python trainer/tests/parity/speed.py --data scifact.zip --model .native/all-MiniLM-L6-v2 --program target/release/adam-train

Both train on the same pairs (claim, abstract) with the same loss (in-batch negatives, scale 20), the same number of pairs a step, the
same cap on lengths and AdamW, each in a process of its own, taking turns. Counted are real tokens (no padding) over the time of the
training loop, the first steps left out. sentence-transformers runs with each of the settings named by --settings; the best one is
what ours is compared with. Needs sentence-transformers, datasets and accelerate.
"""

import argparse
import csv
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

WARM_UP_STEPS = 2


def pairs_of(path, count):
    """Claims of the training split with their first judged abstract, as a BEIR archive or folder has them."""
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


def theirs(arguments):
    """One run of sentence-transformers; prints tokens a second and what it padded."""
    settings = set(arguments.setting.split("+"))
    import torch

    torch.set_num_threads(arguments.threads)
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback, set_seed

    set_seed(1)
    pairs = json.loads(Path(arguments.pairs).read_text())
    model = SentenceTransformer(arguments.model, device="cpu", local_files_only=True)
    model.max_seq_length = arguments.length
    if "no-dropout" in settings:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            # Attention keeps its probability in a number of its own.
            if hasattr(module, "dropout_prob"):
                module.dropout_prob = 0.0
        model[0].auto_model.config.attention_probs_dropout_prob = 0.0
    counted = {"real": 0, "padded": 0, "steps": 0, "began": None}

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            counted["steps"] += 1
            if counted["steps"] == WARM_UP_STEPS:
                counted["began"], counted["cpu"] = time.perf_counter(), time.process_time()
                counted["real"] = counted["padded"] = 0

    forward = model.forward

    def counting(features, **kwargs):
        counted["real"] += int(features["attention_mask"].sum())
        counted["padded"] += features["attention_mask"].numel()
        return forward(features, **kwargs)

    model.forward = counting
    with tempfile.TemporaryDirectory() as folder:
        options = SentenceTransformerTrainingArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=arguments.batch, learning_rate=2e-5, use_cpu=True,
            bf16="bf16" in settings, save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
            dataloader_drop_last=True, seed=1,
        )
        trainer = SentenceTransformerTrainer(
            model=model, args=options, loss=MultipleNegativesRankingLoss(model, scale=20.0), callbacks=[Clock()],
            train_dataset=Dataset.from_dict({"anchor": [p[0] for p in pairs], "positive": [p[1] for p in pairs]}),
        )
        if "grouped" in settings:
            # Not a setting of theirs: pairs sorted by length, so that a batch holds passages of one length.
            lengths = [len(model.tokenizer(p[1])["input_ids"]) for p in pairs]
            order = sorted(range(len(pairs)), key=lambda i: lengths[i])
            batches = [order[i : i + arguments.batch] for i in range(0, len(order), arguments.batch)]
            import random

            random.Random(1).shuffle(batches)
            trainer.get_batch_sampler = lambda *a, **k: [b for b in batches if len(b) == arguments.batch]
        trainer.train()
    seconds, cpu = time.perf_counter() - counted["began"], time.process_time() - counted["cpu"]
    found = {"tokens_per_second": counted["real"] / seconds, "padding": 1 - counted["real"] / counted["padded"]}
    # On a machine that is busy otherwise, the work done by a second of processor time says more than the clock.
    print(json.dumps(found | {"tokens_per_cpu_second": counted["real"] / cpu}))


def ours(arguments, folder):
    """One run of `adam-train warm-up`."""
    output = Path(tempfile.mkdtemp(dir=folder))
    rows = "".join(
        json.dumps({"query": q, "pos": [p], "neg": []}) + "\n" for q, p in json.loads(Path(arguments.pairs).read_text())
    )
    (output / "pairs.jsonl").write_text(rows)
    settings = {
        "run.threads": arguments.threads, "run.device": "cpu", "warm_up.training.micro_tokens": arguments.micro_tokens,
        "warm_up.training.most_tokens": 1 << 24,
    }
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
    subprocess.run(command, check=True, capture_output=not arguments.verbose)
    rows = [json.loads(line) for line in (output / "run/metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["stage"] == "warm-up" and "loss" in row][WARM_UP_STEPS:]
    tokens, seconds = sum(r["tokens"] for r in rows), sum(r["seconds"] for r in rows)
    padded = sum(r["tokens"] / (1 - r["padding"]) for r in rows)
    return {"tokens_per_second": tokens / seconds, "padding": 1 - tokens / padded}


def child(arguments, setting):
    command = [sys.executable, __file__, "--theirs", "--setting", setting, "--pairs", arguments.pairs, "--model", arguments.model]
    command += ["--threads", str(arguments.threads), "--batch", str(arguments.batch), "--length", str(arguments.length)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=256, help="pairs trained on in a run")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--micro-tokens", type=int, default=4096)
    parser.add_argument("--settings", default="default,no-dropout,no-dropout+grouped")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--setting", default="default", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.theirs:
        return theirs(arguments)
    with tempfile.TemporaryDirectory() as folder:
        pairs = pairs_of(arguments.data, arguments.count)
        arguments.pairs = str(Path(folder) / "pairs.json")
        Path(arguments.pairs).write_text(json.dumps(pairs))
        print(f"{len(pairs)} pairs, {arguments.batch} a step, at most {arguments.length} tokens, {arguments.threads} threads")
        found = {}
        for turn in range(arguments.rounds):
            runs = [("adam-train", lambda: ours(arguments, folder))]
            runs += [(f"sentence-transformers {s}", lambda s=s: child(arguments, s)) for s in arguments.settings.split(",")]
            # Whoever goes first meets a cooler machine.
            for name, run in runs if turn % 2 == 0 else reversed(runs):
                made = run()
                found.setdefault(name, []).append(made)
                print(f"  round {turn + 1}  {name:<45} {made['tokens_per_second']:7.0f} tokens/s, padding {100 * made['padding']:4.1f} %", flush=True)
        medians = {name: statistics.median(r["tokens_per_second"] for r in rows) for name, rows in found.items()}
        for name, value in medians.items():
            print(f"median {name:<45} {value:7.0f} tokens/s, adam-train is {medians['adam-train'] / value:.2f} times as fast")


if __name__ == "__main__":
    main()
