"""What the tests share: the model, the program `adam`, a small collection, and real ones where they are."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import adam_search as adam
import pytest

ROOT = Path(__file__).resolve().parents[2]

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "crow", "title": "Crows", "text": "Crows bend wire into hooks and fish with them.", "metadata": {"year": 2002, "lang": "en"}},
    {"_id": "finch", "title": "Woodpecker finch", "text": "It takes a cactus spine to reach grubs.", "metadata": {"year": 1919, "lang": "en"}},
    {"_id": "raven", "title": "Ravens", "text": "Ravens nest early in the year, often in snow.", "metadata": {"year": 1989, "lang": "en"}},
    {"_id": "otter", "title": "Sea otters", "text": "Otters crack shells with stones that they carry.", "metadata": {"year": 1939, "lang": "en"}},
    {"_id": "wal", "title": "Wale", "text": "Buckelwale singen lange Lieder.", "metadata": {"year": 1971, "lang": "de"}},
    {"_id": "empty", "title": "", "text": "", "metadata": {"year": 2000}},
    {"_id": "markup", "title": "a < b & c", "text": "Tools are <b>not</b> \"only\" human."},
]

QUERIES = ["birds that use tools", "shells and stones", "singing whales", "snow", "wire hooks"]


def found(path: Path, what: str) -> Path:
    if not path.exists():
        pytest.skip(f"{what} is not there: {path}")
    return path


@pytest.fixture(scope="session")
def model() -> Path:
    return found(Path(os.environ.get("ADAM_TEST_MODEL") or ROOT / ".native/minilm-onnx"), "MiniLM as an ONNX folder")


@pytest.fixture(scope="session")
def encoder(model: Path) -> adam.Encoder:
    return adam.Encoder(model)


@pytest.fixture(scope="session")
def program() -> Path:
    return found(Path(os.environ.get("ADAM_TEST_PROGRAM") or ROOT / "target/release/adam"), "the program adam")


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("collection") / "corpus.jsonl"
    path.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def by_program(program: Path, model: Path, collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small collection, indexed by the program."""
    path = tmp_path_factory.mktemp("program") / "index"
    run(program, "index", "--model", str(model), "--data", str(collection), "--index", str(path))
    return path


@pytest.fixture
def index(encoder: adam.Encoder, tmp_path: Path) -> adam.Index:
    """The small collection, indexed from Python."""
    index = adam.Index.create(tmp_path / "index", encoder)
    index.add(DOCUMENTS)
    index.commit()
    return index


@pytest.fixture(scope="session")
def scifact() -> Path:
    folders = [os.environ.get("ADAM_DATA"), str(ROOT / "../shared/data")]
    for folder in filter(None, folders):
        if (archive := Path(folder) / "scifact.zip").is_file():
            return archive
    pytest.skip("scifact.zip is neither in ADAM_DATA nor in ../shared/data")


def run(*words: str | Path) -> str:
    """What a program prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ADAM_")}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
