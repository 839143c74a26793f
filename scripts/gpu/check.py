"""What scripts/gpu-check.sh runs: steps with a time limit each, a line for each result, a table at the end.

Steps: device (the tests of tantivy-dense's searches on it), train (speed against PyTorch), search (faiss on the device through tantivy
against PyTorch's matmul + topk), losses (the same on the device as on the CPU), memory (a shortage is answered by
smaller batches), encode (texts to vectors through ONNX Runtime against sentence-transformers), pipeline (medquad, three epochs of
distillation, evaluated). What is judged by its speed comes first.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALL = ["device", "train", "search", "losses", "memory", "encode", "pipeline"]
# Seconds a step may take at most.
LIMITS = {"device": 90, "losses": 120, "memory": 90, "train": 240, "search": 200, "encode": 90, "pipeline": 570}
# A short text, timed alone.
QUERY = "what are the treatments for high blood pressure"
sys.path.insert(0, str(ROOT / "trainer/tests/parity"))
import speed  # noqa: E402 - it lies where the line above points


class Skipped(Exception):
    """A step that cannot be done here, with the reason."""


class TookTooLong(RuntimeError):
    """A command that its step had no time for."""


class Check:
    def __init__(self, arguments):
        self.arguments = arguments
        self.began = time.monotonic()
        self.rows = []
        self.failed = False
        self.output = Path(arguments.output).resolve()
        self.output.mkdir(parents=True, exist_ok=True)
        self.work = Path(tempfile.mkdtemp(prefix="gpu-check-"))
        # What the commands say; packed into one file of the output after each step.
        self.logs = self.work / "logs"
        self.logs.mkdir()
        self.environment = dict(os.environ)
        # OpenBLAS falls back to its oldest kernels on a processor that it does not know, as Debian 12's does on Xeons since 2023.
        abilities = Path("/proc/cpuinfo").read_text()
        if "avx2" in abilities:
            self.environment.setdefault("OPENBLAS_CORETYPE", "SkylakeX" if "avx512dq" in abilities else "Haswell")
        self.limit = 0.0

    def left(self):
        return self.arguments.minutes * 60 - (time.monotonic() - self.began)

    def add(self, step, what, value, wanted="", ok=None):
        """A result. `ok` None: measured, not judged."""
        self.rows.append({"step": step, "what": what, "value": value, "wanted": wanted, "ok": ok})
        self.failed |= ok is False
        word = {True: "ok", False: "FAILED", None: "measured"}[ok]
        print(f"[{step}] {word}: {what}: {value}{f' (wanted: {wanted})' if wanted else ''}", flush=True)

    def unpack(self):
        """Programs, libraries and model from the bundle, or those that were built here."""
        bundles = [Path(bundle) for bundle in self.arguments.bundle or []]
        if bundles:
            for path in sorted(path for bundle in bundles for path in bundle.glob("*.tar.xz")):
                with tarfile.open(path) as archive:
                    archive.extractall(self.work, filter="data")
            self.programs, self.model = self.work / "bin", self.work / "model"
            corpus = next((self.work / "collection").rglob("corpus.jsonl"), None)
            self.data = corpus.parent if corpus else None
            site = self.work / "site"
            for wheel in (path for bundle in bundles for path in bundle.glob("*.whl")):
                zipfile.ZipFile(wheel).extractall(site)
            self.environment["PYTHONPATH"] = ":".join([str(site), *filter(None, [self.environment.get("PYTHONPATH", "")])])
        else:
            self.programs, self.model, self.data = ROOT / "target/release", ROOT / ".native/all-MiniLM-L6-v2", None
        if self.arguments.model:
            self.model = Path(self.arguments.model).resolve()
        if self.arguments.data:
            self.data = Path(self.arguments.data).resolve()
        folders = [self.work / "lib"] if bundles else []
        packed = self.work / "lib/libonnxruntime.so"
        if packed.is_file():
            self.environment["ORT_DYLIB_PATH"] = str(packed)
        site = self.python_packages()
        if site:
            # The libtorch that the program is to use, with what CUDA needs; in the bundle's program none is named that is here.
            self.environment["LIBTORCH"] = str(site / "torch")
            folders += [site / "torch/lib", *sorted(site.glob("nvidia/*/lib"))]
            runtime = sorted((site / "onnxruntime/capi").glob("libonnxruntime.so*"))
            if runtime and "ORT_DYLIB_PATH" not in self.environment:
                self.environment["ORT_DYLIB_PATH"] = str(runtime[-1])
        native = ROOT / ".native/onnxruntime/libonnxruntime.so"
        if "ORT_DYLIB_PATH" not in self.environment and native.is_file():
            self.environment["ORT_DYLIB_PATH"] = str(native)
        known = self.environment.get("LD_LIBRARY_PATH", "")
        self.environment["LD_LIBRARY_PATH"] = ":".join([*map(str, folders), *filter(None, [known])])

    def python_packages(self):
        """The folder of this Python's packages, where PyTorch is among them."""
        done = subprocess.run([sys.executable, "-c", "import torch; print(torch.__file__)"], capture_output=True, text=True)
        return Path(done.stdout.strip()).parents[1] if done.returncode == 0 else None

    def run(self, command, name, interrupt=False, extra=None, given=""):
        """A command within the step's time; its output is kept. Gives its exit code and output."""
        limit = max(1.0, min(self.limit - time.monotonic(), self.left()))
        path = self.logs / f"{name}.log"
        with open(path, "w") as log, tempfile.TemporaryFile() as standard_input:
            standard_input.write(given.encode())
            standard_input.seek(0)
            process = subprocess.Popen(
                list(map(str, command)), stdin=standard_input, stdout=log, stderr=subprocess.STDOUT,
                env=self.environment | (extra or {}), cwd=ROOT, start_new_session=True,
            )
            try:
                code = process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                # A run of adam-train writes a checkpoint and ends.
                if interrupt:
                    process.send_signal(signal.SIGINT)
                    try:
                        process.wait(timeout=20)
                    except subprocess.TimeoutExpired:
                        pass
                # With all that it started.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = None
            except BaseException:
                # In a session of its own it hears no Ctrl-C.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        text = path.read_text(errors="replace")
        if code is None:
            raise TookTooLong(f"{name} took longer than {limit:.0f} s; it said last: {tail(text)}")
        return code, text

    def ran(self, command, name, **more):
        code, text = self.run(command, name, **more)
        if code:
            raise RuntimeError(f"{name} ended with {code}: {tail(text)}")
        return text

    def program(self, name):
        for folder in [self.programs, self.programs / "examples"]:
            if (folder / name).is_file():
                return folder / name
        # Of tests, as cargo names them, the newest.
        built = [path for path in (self.programs / "deps").glob(f"{name}-*") if not path.suffix]
        if built:
            return max(built, key=lambda path: path.stat().st_mtime)
        raise Skipped(f"the program {name} is not there")

    def pairs(self, count):
        """Queries with their passages, as JSONL: from the collection, or the pocket one."""
        source = self.data or ROOT / "examples/data/pocket"
        pairs = speed.pairs_of(Path(source), count)
        path = self.work / f"pairs-{count}.jsonl"
        path.write_text("".join(json.dumps({"query": q, "pos": [p], "neg": []}) + "\n" for q, p in pairs))
        return path

    def warm_up(self, name, pairs, device, batch, more, extra=None):
        """A short training; gives its rows of metrics and what it said."""
        folder = self.work / name
        folder.mkdir()
        (folder / "run.toml").write_text(
            f'[run]\noutput = "run"\n[data]\npath = "{pairs}"\n[student]\nmodel = "{self.model}"\nquery_length = 64\n'
            f"passage_length = 192\n[warm_up]\nnegatives = 0\n[warm_up.training]\nepochs = 1\nqueries_per_step = {batch}\n"
            "evaluations = 0\n[mine]\ndense = false\n[eval]\nenabled = false\n"
        )
        command = [self.program("adam-train"), "warm-up", folder / "run.toml", "--device", device]
        for setting in more:
            command += [setting] if setting.startswith("--") else ["--set", setting]
        text = self.ran(command, name, extra=extra)
        rows = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
        return [row for row in rows if "loss" in row], text

    def device(self):
        """What is deleted, filtered, merged and reloaded is found as the processor finds it, to the last bit."""
        name = "gpu:0" if self.arguments.device == "cuda" else "host"
        text = self.ran([self.program("device"), "--test-threads", "4"], "device", extra={"DENSE_TEST_DEVICE": name})
        result = next((line for line in text.splitlines() if line.startswith("test result:")), "")
        passed = re.search(r"(\d+) passed; 0 failed", result)
        self.add("device", f"tests of searches on {name}", result, "all passed", bool(passed) and int(passed[1]) > 5)

    def losses(self):
        """f32 on the CPU against f32 on the device, 20 steps; without a device, padded against packed."""
        batch, steps = (8, 5) if self.arguments.quick else (16, 20)
        pairs = self.pairs(batch * steps)
        device = self.arguments.device
        # No more threads than small products have work for.
        threads = f"run.threads={min(os.cpu_count(), 8)}"
        plain, _ = self.warm_up("losses-cpu", pairs, "cpu", batch, ["run.precision=f32", "run.packing=off", threads])
        for packing in ["on", "off"] if device == "cuda" else ["on"]:
            what = f"losses in f32, cpu padded against {device} {'packed' if packing == 'on' else 'padded'}"
            settings = ["run.precision=f32", f"run.packing={packing}"]
            try:
                other, _ = self.warm_up(f"losses-{device}-{packing}", pairs, device, batch, settings)
            except RuntimeError as error:  # One way of laying texts out must not take the other with it.
                self.add("losses", what, f"broke: {error}", ok=False)
                continue
            if len(other) != len(plain) or len(plain) < min(steps, 4):
                raise RuntimeError(f"{len(plain)} and {len(other)} steps were made")
            if max(row["loss"] for row in plain) < 1e-3:
                raise RuntimeError("the losses are so small that they say nothing")
            worst = max(abs(a["loss"] - b["loss"]) for a, b in zip(plain, other))
            self.add("losses", f"{what}, {len(plain)} steps", f"differ by {worst:.1e}", "<= 1e-3", worst <= 1e-3)
        if device == "cuda":
            other, _ = self.warm_up("losses-bf16", pairs, device, batch, ["run.precision=bf16"])
            worst = max(abs(a["loss"] - b["loss"]) for a, b in zip(plain, other))
            self.add("losses", "the same in bf16", f"differ by {worst:.1e}", "<= 0.1", worst <= 0.1)

    def memory(self):
        """A shortage of memory, real on the device, set by a limit without one."""
        quick = self.arguments.quick
        pairs = self.pairs(24 if quick else 512)
        batch = 12 if quick else 256
        if self.arguments.device == "cuda":
            code = (
                "import sys, torch; free, _ = torch.cuda.mem_get_info(); "
                "held = torch.empty(int(free - 3e9), dtype=torch.uint8, device='cuda'); print('held', flush=True); sys.stdin.read()"
            )
            hog = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                if hog.stdout.readline().strip() != "held":
                    raise RuntimeError("the device's memory could not be filled")
                rows, text = self.warm_up("memory", pairs, "cuda", batch, ["warm_up.training.micro_tokens=1048576"])
            finally:
                hog.stdin.close()
                hog.wait(timeout=20)
        else:
            # A little over what MiniLM's weights, gradients and moments take.
            limit = "--memory-limit=430MB" if quick else "--memory-limit=450MB"
            rows, text = self.warm_up("memory", pairs, "cpu", batch, [limit, "run.precision=bf16"])
        # libtorch's text of the shortage has several lines.
        said = re.findall(r"out of memory with .*?begins again", text, re.DOTALL)
        self.add("memory", "shortage answered by smaller batches", f"{len(said)} times, {len(rows)} steps done", ">= 1", bool(said and rows))
        held = next((line for line in text.splitlines() if "warm-up:" in line and "memory" in line and "at most" in line), "")
        self.add("memory", "memory said", held.strip() or "no", "a line", bool(held))

    def train(self):
        """Tokens a second against a bare PyTorch loop and, where its needs are there, sentence-transformers' trainer."""
        quick, device = self.arguments.quick, self.arguments.device
        if not self.python_packages():
            raise Skipped("this Python has no PyTorch to compare with")
        needs = [sys.executable, "-c", "import datasets, accelerate"]
        whole = not quick and subprocess.run(needs, capture_output=True, env=self.environment).returncode == 0
        shapes = [("minilm-l6", 4, 16)] if quick else [("minilm-l6", 128, 12800), ("bert-base", 384, 13824)]
        for shape, batch, count in shapes:
            # Where the device is the limit, less padding helps; their own trainer takes longest to start, and is slower than the loop.
            settings = "loop,loop+grouped" if quick or shape == "bert-base" else "loop,no-dropout" if whole else "loop"
            path = self.logs / f"train-{shape}.json"
            command = [
                sys.executable, ROOT / "trainer/tests/parity/speed.py", "--data", self.data or ROOT / "examples/data/pocket", "--model",
                self.model, "--program", self.program("adam-train"), "--device", device, "--shape", shape, "--batch", batch, "--count",
                count, "--rounds", self.arguments.rounds, "--settings", settings, "--json", path, "--micro-tokens", 1 << 20,
            ]
            try:
                self.ran(command, f"train-{shape}")
            except TookTooLong as error:
                if not path.is_file():
                    raise
                # Without all rivals nothing is shown.
                self.add("train", f"{shape}: cut short", str(error), ok=False)
            rows = json.loads(path.read_text())
            ours = next(row for row in rows if row["who"] == "adam-train")
            rivals = [row for row in rows if row["who"] != "adam-train"]
            missing = set(settings.split(",")) - {row["who"] for row in rivals}
            if missing:
                self.add("train", f"{shape}: broke or missing", ", ".join(sorted(missing)), ok=False)
            if not rivals:
                continue
            best = max(rivals, key=lambda row: row["tokens_per_second"])
            ratio = ours["tokens_per_second"] / best["tokens_per_second"]
            judged = device == "cuda" and not quick
            what = f"{shape}, {batch} pairs a step: {ours['tokens_per_second']:.0f} tokens/s, {best['who']} {best['tokens_per_second']:.0f}"
            self.add("train", what, f"{ratio:.2f} times as fast", ">= 1.2" if judged else "", ratio >= 1.2 if judged else None)
            share = ours["utilisation"]
            if share is not None:
                wanted = 0.35 if shape == "bert-base" and judged else None
                self.add(
                    "train", f"{shape}: model FLOPs utilisation ({ours['teraflops']:.0f} TFLOP/s)", f"{100 * share:.1f} %",
                    ">= 35 %" if wanted else "", share >= wanted if wanted else None,
                )

    def search(self):
        """The index on the device through tantivy, against PyTorch's matmul + topk over the same vectors."""
        program, quick = self.program("gpu_bench"), self.arguments.quick
        # What is judged comes first.
        sizes = [(2000, 32, "flat")] if quick else [(1_000_000, 384, "flat"), (10_000_000, 128, "flat"), (1_000_000, 384, "ivf")]
        for size in [size for size in sizes if size[2] in self.arguments.indexes]:
            try:
                self.search_one(program, *size)
            except RuntimeError as error:  # A size that breaks must not take the others with it.
                self.add("search", "{} x {} {}".format(*size), f"broke: {error}", ok=False)

    def search_one(self, program, rows, dimension, index):
        """One index, searched in batches."""
        quick, device = self.arguments.quick, self.arguments.device
        name = f"search-{index}-{rows}x{dimension}"
        path = self.logs / f"{name}.json"
        command = [
            program, "--rows", rows, "--dimension", dimension, "--batches", "1,32,1024", "--k", 10, "--index", index, "--queries", 1024,
            "--json", path, "--device", "gpu:0" if device == "cuda" else "host",
        ]
        self.ran(command, name)
        ours = {line["batch"]: line for line in map(json.loads, path.read_text().splitlines())}
        theirs = {}
        if index == "flat" and self.python_packages():
            other = self.logs / f"{name}-torch.json"
            command = [
                sys.executable, ROOT / "scripts/gpu/torch_search.py", "--rows", rows, "--dimension", dimension, "--json", other,
                "--device", device, "--seconds", 0.2 if quick else 2,
            ]
            self.ran(command, f"{name}-torch")
            theirs = {line["batch"]: line for line in map(json.loads, other.read_text().splitlines())}
        judged = device == "cuda" and not quick
        for batch, line in ours.items():
            what = f"{rows} x {dimension} {index}, batch {batch}: {line['milliseconds']:.2f} ms"
            # The processor answers where the device cannot, and as exactly: that must not pass for the device's work.
            share = line["on_device"]
            self.add("search", f"{what}: share that the device answered", f"{share:.2f}", "1.0", share >= 1.0)
            recall = line.get("recall")
            if index == "flat" and recall is not None:
                self.add("search", f"{what}: recall", f"{recall:.4f}", "1.0", recall >= 1.0)
            if batch in theirs:
                ratio = line["milliseconds"] / theirs[batch]["milliseconds"]
                self.add(
                    "search", f"{what}, torch {theirs[batch]['milliseconds']:.2f} ms", f"{ratio:.2f} times as long",
                    "<= 1.2" if judged else "", ratio <= 1.2 if judged else None,
                )
            elif index != "flat":
                self.add("search", what, f"recall {recall:.4f}" if recall is not None else "")

    def encode(self):
        """Texts to vectors: f16 on the device against f32 on the CPU, then timed against sentence-transformers in 16 bits."""
        program = self.program("vectors")
        quick, cuda = self.arguments.quick, self.arguments.device == "cuda"
        runtime = Path(self.environment.get("ORT_DYLIB_PATH", "none"))
        if cuda and not (runtime.parent / "libonnxruntime_providers_cuda.so").is_file():
            raise Skipped(f"no CUDA provider beside {runtime}: pack the wheel of onnxruntime-gpu, or install it")
        onnx = self.work / "onnx"
        self.ran([self.program("adam-train"), "export", "--model", self.model, "--output", onnx, "--no-int8"], "encode-export")
        passages = [passage for _, passage in speed.pairs_of(Path(self.data or ROOT / "examples/data/pocket"), 24 if quick else 8192)]
        on_device = ["--provider", "cuda", "--precision", "f16"] if cuda else ["--precision", "f16"]

        def encoded(name, given, *more):
            # Warnings stand beside the lines of JSON.
            text = self.ran([program, "--model", onnx, *more], name, given=given)
            return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

        few = json.dumps(passages[:256])
        exact, halved = (encoded(name, few, *more)[0]["vectors"] for name, more in [("encode-f32", []), ("encode-f16", on_device)])
        worst = min(sum(a * b for a, b in zip(*pair)) for pair in zip(exact, halved))
        where = "on the device" if cuda else "on the CPU"
        self.add("encode", f"f16 {where} against f32 on the CPU, {len(exact)} texts: least cosine", f"{worst:.6f}", ">= 0.999", worst >= 0.999)
        if cuda:
            # One fingerprint stands for both, so their vectors may lie in one index.
            same = encoded("encode-f32-cuda", few, "--provider", "cuda")[0]["vectors"]
            worst = max(abs(a - b) for pair in zip(exact, same) for a, b in zip(*pair))
            self.add("encode", "f32 on the device against f32 on the CPU: a value differs by", f"{worst:.1e}", "<= 1e-4", worst <= 1e-4)
        # A CPU has no arithmetic for f16 models that would be worth a comparison. The first call of each warms up.
        rounds = 2 if quick else 4
        given = "".join(json.dumps(line) + "\n" for line in [[rounds, 0.0, passages], [120, 0.0, [QUERY]]])
        passes, queries = (line["seconds"] for line in encoded("encode-speed", given, *(on_device if cuda else []), "--stream"))
        rate, query = len(passages) / statistics.median(passes[1:]), 1e3 * statistics.median(queries[20:])
        what = f"{len(passages)} passages: {rate:.0f} texts/s, a query {query:.2f} ms"
        if not self.python_packages():
            self.add("encode", what, "no PyTorch to compare with")
            return
        path, texts = self.logs / "encode-torch.json", self.work / "texts.json"
        texts.write_text(json.dumps(passages))
        command = [
            sys.executable, ROOT / "scripts/gpu/torch_encode.py", "--model", self.model, "--texts", texts, "--json", path, "--query", QUERY,
            "--device", self.arguments.device, "--rounds", rounds - 1, *(["--half"] if cuda else []),
        ]
        self.ran(command, "encode-torch")
        theirs = list(map(json.loads, path.read_text().splitlines()))
        best = max((line for line in theirs if "texts_per_second" in line), key=lambda line: line["texts_per_second"])
        alone = next(line["milliseconds"] for line in theirs if "milliseconds" in line)
        what += f"; sentence-transformers {best['texts_per_second']:.0f} ({best['batch']} a batch), {alone:.2f} ms"
        self.add("encode", what, f"{rate / best['texts_per_second']:.2f} times as fast")

    def pipeline(self):
        """The whole run, with evaluation; small and from the pocket collection with --quick."""
        device = self.arguments.device
        work = self.work / "pipeline"
        command = [self.program("adam-train"), "run"]
        if self.arguments.quick:
            command += [ROOT / "trainer/configs/pocket.toml", "--set", "student.passage_length=48", "--set", "data.max_queries=16"]
        else:
            if not self.data:
                raise Skipped("no collection: name one by --data or put it in the bundle")
            command += [ROOT / "scripts/gpu/medquad.toml", "--data", self.data]
        command += ["--model", self.model, "--work", work, "--device", device]
        began = time.monotonic()
        try:
            text = self.ran(command, "pipeline", interrupt=True)
        finally:
            if (work / "metrics.jsonl").is_file():
                shutil.copy(work / "metrics.jsonl", self.output / "pipeline-metrics.jsonl")
        seconds = time.monotonic() - began
        verdict = next((line for line in reversed(text.splitlines()) if line.startswith("VERDICT")), "")
        for line in text.splitlines():
            if " steps, " in line and "tokens/s" in line:
                self.add("pipeline", "stage", line.strip())
        self.add("pipeline", f"the whole run in {seconds:.0f} s", verdict or "no verdict", "a verdict within 600 s", bool(verdict) and seconds < 600)

    def go(self):
        self.unpack()
        about = {
            "date": time.strftime("%Y-%m-%d"), "device": self.arguments.device, "quick": self.arguments.quick,
            "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "command": " ".join(sys.argv),
        }
        if self.arguments.device == "cuda":
            query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
            about["gpu"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
        print(json.dumps(about), flush=True)
        for step in ALL:
            if step not in self.arguments.steps:
                continue
            if self.left() < 15:
                self.add(step, "not begun: the time is used up", "skipped")
                continue
            self.limit = time.monotonic() + LIMITS[step]
            began = time.monotonic()
            try:
                getattr(self, step)()
            except Skipped as reason:
                self.add(step, str(reason), "skipped")
            except Exception as error:  # A step that breaks must not take the others with it.
                self.add(step, f"{type(error).__name__}: {error}", "broke", ok=False)
            print(f"[{step}] {time.monotonic() - began:.0f} s, {self.left():.0f} s left", flush=True)
            (self.output / "results.json").write_text(json.dumps({"about": about, "rows": self.rows}, indent=1))
            with tarfile.open(self.output / "logs.tar.gz", "w:gz") as archive:
                archive.add(self.logs, arcname="logs")
        width = max((len(row["what"][:100]) for row in self.rows), default=0)
        print("\n" + f"{'step':<9} {'what':<{width}}  value")
        for row in self.rows:
            word = {True: "ok", False: "FAILED", None: ""}[row["ok"]]
            print(f"{row['step']:<9} {row['what'][:100]:<{width}}  {row['value']}  {word}")
        return 1 if self.failed else 0


def tail(text):
    return " | ".join(text.strip().splitlines()[-6:])[-900:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether the steps work, nothing about speed")
    parser.add_argument("--bundle", action="append", help="folder that scripts/gpu-pack.sh wrote, repeatable; absent: what was built in this checkout")
    parser.add_argument("--data", help="collection instead of the bundle's")
    parser.add_argument("--model", help="model folder instead of the bundle's")
    parser.add_argument("--output", default="runs/gpu-check", help="folder of the results")
    parser.add_argument("--indexes", type=lambda text: text.split(","), default=["flat", "ivf"], help="of the step search: flat,ivf")
    parser.add_argument("--rounds", type=int, default=1, help="of each contestant in training")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all steps together")
    parser.add_argument("--steps", type=lambda text: text.split(","), default=ALL)
    arguments = parser.parse_args()
    unknown = set(arguments.steps) - set(ALL)
    if unknown:
        parser.error(f"unknown steps: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    check = Check(arguments)
    try:
        return check.go()
    finally:
        shutil.rmtree(check.work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
