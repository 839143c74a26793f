"""Training and export by the real program, on a collection of a few lines."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import adam_search as adam
import numpy as np
import pytest
from conftest import DOCUMENTS, ROOT, found

JUDGED = {
    "train": {"q1": ("birds that use tools", "crow"), "q2": ("shells and stones", "otter"), "q3": ("nest in snow", "raven")},
    "test": {"q4": ("wire hooks", "crow"), "q5": ("cactus spine", "finch")},
}


@pytest.fixture
def options() -> dict[str, Any]:
    program = Path(os.environ.get("ADAM_TEST_TRAINER") or ROOT / "target/release/adam-train")
    libtorch = Path(os.environ["LIBTORCH"]) if "LIBTORCH" in os.environ else ROOT / ".native/libtorch"
    return {"program": found(program, "the program adam-train"), "libtorch": found(libtorch / "lib", "libtorch")}


@pytest.fixture
def source() -> Path:
    return found(ROOT / ".native/all-MiniLM-L6-v2", "MiniLM with safetensors")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)

    def lines(rows: list[dict[str, Any]]) -> str:
        return "".join(json.dumps(row) + "\n" for row in rows)

    (folder / "corpus.jsonl").write_text(lines([row for row in DOCUMENTS if row["text"]]), encoding="utf-8")
    queries = [{"_id": id, "text": text} for split in JUDGED.values() for id, (text, _) in split.items()]
    (folder / "queries.jsonl").write_text(lines(queries), encoding="utf-8")
    for split, judged in JUDGED.items():
        rows = "".join(f"{id}\t{document}\t1\n" for id, (_, document) in judged.items())
        (folder / f"qrels/{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows, encoding="utf-8")
    return folder


def test_export(source: Path, options: dict[str, Any], tmp_path: Path) -> None:
    folder = adam.export(source, tmp_path / "model", max_length=32, log=lambda line: None, **options)
    encoder = adam.Encoder(folder)
    assert encoder.max_length == 32 and np.isclose(np.linalg.norm(encoder.encode("crows")), 1.0)


def test_train(source: Path, data: Path, options: dict[str, Any], tmp_path: Path) -> None:
    heard: list[adam.TrainProgress] = []
    lines: list[str] = []
    settings = {"teacher.training.epochs": 1, "distil.epochs": 1, "student.passage_length": 32, "teacher.query_length": 32}
    work, environment = tmp_path / "run", dict(os.environ)

    def run() -> adam.Training:
        return adam.train(
            data, work, model=source, device="cpu", settings=settings, progress=heard.append, log=lines.append, **options
        )

    # Stopped when the teacher is done, and gone on with.
    def stop(step: adam.TrainProgress) -> None:
        heard.append(step)
        if step.stage == "teacher" and step.done == step.total:
            raise LookupError("enough for now")

    with pytest.raises(LookupError, match="enough"):
        adam.train(data, work, model=source, device="cpu", settings=settings, progress=stop, log=lines.append, **options)
    made = run()
    assert made.student == work / "student" and made.folder == work and made.verdict
    assert heard and all(0 < step.done <= step.total for step in heard)
    assert any("teacher" in line for line in lines)
    assert dict(os.environ) == environment
    index = adam.Index.create(tmp_path / "index", made.student)
    index.add(DOCUMENTS)
    index.commit()
    assert index.search("wire hooks")[0].id == "crow"


def test_ctrl_c_ends_the_child(source: Path, data: Path, options: dict[str, Any], tmp_path: Path) -> None:
    began = threading.Event()

    def press() -> None:
        began.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        adam.train(data, tmp_path / "run", model=source, device="cpu", log=lambda line: began.set(), **options)
    thread.join()


def test_wrong_calls(source: Path, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(adam.InputError, match="unknown field `epoch`"):
        adam.train(tmp_path, tmp_path / "run", model=source, settings={"distil.epoch": 1}, log=lambda line: None, **options)
    with pytest.raises(adam.AdamError, match="nothing"):
        adam.train(tmp_path / "nothing", tmp_path / "run", model=source, log=lambda line: None, **options)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(adam.InputError, match="neither in this environment nor on PATH"):
        adam.train(tmp_path, tmp_path / "run")
