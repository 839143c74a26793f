"""Wrong input is named by row or column, and nothing is half done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adam_search as adam
import numpy as np
import pyarrow as pa
import pytest
from conftest import DOCUMENTS

GOOD = {"id": "good", "text": "A good row."}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "x", "text": "t", "vector": [float("nan")] * 384}, "document `x`: its vector has NaN"),
        ({"id": "x", "text": "t", "vector": [float("inf")] * 384}, "document `x`: its vector"),
        ({"id": "x", "text": "t", "vector": [1.0] * 3}, "document `x`: its vector has 3 values; the index takes 384"),
        ({"id": "x", "text": "t", "vector": np.ones((2, 384), np.float32)}, "document `x`: its vector"),
        ({"id": "x", "text": "t", "vector": "abc"}, "document `x`: its vector is a str"),
        ({"id": "x", "text": 3}, "document `x`: `text` is no str"),
        ({"id": "x", "title": b"t", "text": "t"}, "document `x`: `title` is no str"),
        ({"id": "x", "body": "t"}, "has no text under `text`; it has `id`, `body`"),
        ({"text": "t"}, "has no id"),
        ({"id": None, "text": "t"}, "has no id"),
        ({"id": 1.5, "text": "t"}, "its id is a float"),
        ({"id": True, "text": "t"}, "its id is a bool"),
        ({"id": "", "text": "t"}, "its id is empty"),
        ({"id": "x" * 600, "text": "t"}, "600 characters"),
        ({"id": "x", "text": "t", "price": float("nan")}, "`price` is NaN"),
        ({"id": "x", "text": "t", "price": object()}, "`price` is a object"),
        ({"id": "x", "text": "t", "price": {1: 2}}, "`price` holds a dict with a key that is no str"),
        ({"id": "x", "text": "t", "price": 1 << 70}, "`price` is an integer of more than 64 bits"),
        ({"id": "x", "text": "\ud800"}, "surrogate"),
        ({"id": "good", "text": "again"}, "the id `good` is that of row 0 as well"),
        (["id", "x"], "is a list, and a dict is needed"),
        (None, "is a NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows(index: adam.Index, row: Any, words: str) -> None:
    with pytest.raises(adam.InputError) as raised:
        index.add([GOOD, row])
    assert str(raised.value).startswith("row 1: ") and words in str(raised.value)
    assert index.commit().documents == 0, "a list is taken as a whole or not at all"
    assert len(index) == len(DOCUMENTS)


def test_tables(index: adam.Index) -> None:
    ids, texts = ["a", "b", "c"], ["x", "y", "z"]
    ragged = pa.array([[1.0] * 384, [1.0] * 384, [1.0] * 5], pa.list_(pa.float32()))
    hole = pa.array([[1.0] * 384, [1.0] * 383 + [None], [1.0] * 384], pa.list_(pa.float32()))
    for columns, words in [
        ({"id": ids, "body": texts}, "the table has no column `text`; it has `id`, `body`"),
        ({"key": ids, "text": texts}, "the table has no column `id`"),
        ({"id": ["a", None, "c"], "text": texts}, "row 1: `id` is null"),
        ({"id": ids, "text": [1, 2, 3]}, "row 0: document `a`: `text` is of the Arrow type Int64"),
        ({"id": ids, "text": texts, "vector": ragged}, "row 2: document `c`: its vector has 5 values; the index takes 384"),
        ({"id": ids, "text": texts, "vector": hole}, "row 1: document `b`: `vector` holds a null"),
        ({"id": ids, "text": texts, "vector": texts}, "row 0: document `a`: `vector` is of the Arrow type Utf8"),
        ({"id": ids, "text": texts, "price": [1.0, 2.0, float("nan")]}, "row 2: document `c`: `price` is NaN"),
        ({"id": ids, "text": texts, "blob": [b"", b"", b""]}, "`blob` is of the Arrow type Binary"),
        ({"id": ["a", "b", "a"], "text": texts}, "row 2: the id `a` is that of row 0 as well"),
    ]:
        with pytest.raises(adam.InputError) as raised:
            index.add(pa.table(columns))
        assert words in str(raised.value), str(raised.value)
    with pytest.raises(adam.InputError, match="has no column `price`"):
        index.add(pa.table({"id": ids, "text": texts}), keep=["price"])
    with pytest.raises(adam.InputError, match="a table is needed"):
        index.add(pa.array(texts))
    assert index.commit().documents == 0 and len(index) == len(DOCUMENTS)


def test_iterators(index: adam.Index) -> None:
    """Of an iterator, the rows before the wrong one are added; a rollback removes them."""

    def rows(wrong: object) -> Iterator[Any]:
        yield GOOD
        yield wrong

    with pytest.raises(adam.InputError, match="row 1: is a int"):
        index.add(rows(5))
    index.rollback()
    assert index.commit().documents == 0

    def broken() -> Iterator[Any]:
        yield GOOD
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone"):
        index.add(broken())
    index.rollback()
    reader = pa.table({"id": ["a"], "text": ["x"]}).to_reader()
    assert index.add(reader) == 1
    assert index.add(reader) == 0, "it was read already"


def test_calls(index: adam.Index, encoder: adam.Encoder, tmp_path: Path) -> None:
    for call, words in [
        (lambda: index.search("x", mode="words"), "`words` is not a mode; use bm25, dense or hybrid"),
        (lambda: index.search("x", fusion="sum"), "is not a fusion"),
        (lambda: index.search("x", weight=2.0), "0..=1"),
        (lambda: index.search("x", top=20_000), "10000 hits"),
        (lambda: index.search("  "), "query: is empty"),
        (lambda: index.search(["x", " "]), "query 1: query: is empty"),
        (lambda: index.search("x", filter="year:1 AND"), "filter `year:1 AND`"),
        (lambda: index.search("x", filter=["year:1", ""]), "filter"),
        (lambda: index.search(5), "query is a int"),
        (lambda: index.add(7), "rows: is a int"),
        (lambda: index.add({"id": "a"}), "a single dict"),
        (lambda: encoder.encode(["a", None]), "texts, row 1, is a NoneType"),
        (lambda: encoder.encode(pa.array(["a", None])), "texts, row 1, is null"),
        (lambda: encoder.encode(["a"], progress=5), "progress"),
        (lambda: adam.Encoder(".", precision="f64"), "f64"),
        (lambda: adam.Encoder(".", threads=5000), "threads"),
        (lambda: adam.Index.create(tmp_path / "n", 5), "model: an Encoder"),
        (lambda: adam.Index.create(tmp_path / "n", encoder, language="klingon"), "klingon"),
    ]:
        with pytest.raises(adam.InputError) as raised:
            call()
        assert words in str(raised.value), (words, str(raised.value))
        assert isinstance(raised.value, ValueError)
    assert not (tmp_path / "n").exists()
    with pytest.raises(adam.ModelError, match="model's folder"):
        adam.Encoder(tmp_path / "nothing")
    with pytest.raises(OverflowError):
        index.search("x", top=-1)
    with pytest.raises(TypeError):
        index.search("x", tops=1)


def test_damaged_index(index: adam.Index, tmp_path: Path) -> None:
    index.close()
    path = Path(index.path)
    (path / "adam.json").unlink(missing_ok=True)
    for file in path.glob("*.json"):
        file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(adam.AdamError):
        adam.Index.open(path)
