"""Types and docstrings are those of the module."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import adam_search as adam

PYTHON = Path(__file__).resolve().parents[1]


def test_stubs_are_those_of_the_module() -> None:
    """Every name and every signature of the module, held against its .pyi."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "adam_search"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_strict_types(tmp_path: Path) -> None:
    paths = sorted(str(path) for path in (PYTHON / "examples").glob("*.py"))
    assert paths
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), *paths],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_examples_run(model: Path, tmp_path: Path) -> None:
    for path in (PYTHON / "examples").glob("*.py"):
        done = subprocess.run(
            [sys.executable, str(path), str(model)], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_everything_has_a_docstring() -> None:
    for name in adam.__all__:
        thing = getattr(adam, name)
        if isinstance(thing, str):
            continue
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            for member in vars(thing):
                if not member.startswith("_"):
                    assert inspect.getdoc(getattr(thing, member)), f"{name}.{member}"


def test_every_argument_is_described() -> None:
    for name in ["search", "add", "rank", "create", "open", "update", "delete"]:
        method = getattr(adam.Index, name)
        text = inspect.getdoc(method) or ""
        for argument in inspect.signature(method).parameters:
            if argument != "self":
                assert re.search(rf"\b{argument}\b", text), f"Index.{name}: {argument}"


def test_readme_runs(model: Path, tmp_path: Path) -> None:
    """The examples of the README, one after another, in a folder that has a model called `student`."""
    text = (PYTHON / "README.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert "Index.create" in code
    (tmp_path / "student").symlink_to(model)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "crow" in done.stdout


def test_notebook_runs(model: Path, tmp_path: Path) -> None:
    """All cells but the one that trains (test_train.py does)."""
    notebook = json.loads((PYTHON / "examples/birds.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    kept = ["".join(cell["source"]) for cell in cells if "trains" not in cell["metadata"].get("tags", [])]
    assert len(kept) == len(cells) - 1 == 3 and all(code.count("\n") <= 15 for code in kept)
    (tmp_path / "student").symlink_to(model)
    done = subprocess.run([sys.executable, "-c", "\n".join(kept)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "hybrid Evaluation(" in done.stdout
