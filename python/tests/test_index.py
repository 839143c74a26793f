"""Indexes: what goes in and comes out."""

import datetime
from pathlib import Path

import adam_search as adam
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import DOCUMENTS

ROWS = [
    {"id": "a", "title": "Crows", "text": "Crows bend wire.", "year": 2002, "tags": ["bird", "tool"], "day": datetime.date(2002, 8, 9)},
    {"id": "b", "title": None, "text": "Otters crack shells.", "year": None, "tags": [], "day": datetime.date(1939, 1, 2)},
]
META = [
    {"year": 2002, "tags": ["bird", "tool"], "day": "2002-08-09"},
    {"tags": [], "day": "1939-01-02"},
]


def arrow() -> pa.Table:
    return pa.Table.from_pylist(ROWS)


@pytest.mark.parametrize(
    "rows",
    [
        lambda: ROWS,
        lambda: iter(ROWS),
        arrow,
        lambda: arrow().to_batches()[0],
        lambda: arrow().to_reader(),
        lambda: pl.from_arrow(arrow()),
        lambda: arrow().to_pandas(types_mapper=pd.ArrowDtype),
        lambda: pa.concat_tables([arrow().slice(0, 1), arrow().slice(1, 1)]),
    ],
    ids=["dicts", "iterator", "table", "batch", "reader", "polars", "pandas", "chunks"],
)
def test_rows_of_every_kind(encoder: adam.Encoder, tmp_path: Path, rows) -> None:
    index = adam.Index.create(tmp_path / "index", encoder)
    assert index.add(rows()) == 2
    assert len(index) == 0, "nothing is visible before the commit"
    report = index.commit()
    assert (report.documents, report.encoded, report.failures) == (2, 2, [])
    assert index.get("a") == {"id": "a", "title": "Crows", "text": "Crows bend wire.", "metadata": META[0]}
    assert index.get("b") == {"id": "b", "title": "", "text": "Otters crack shells.", "metadata": META[1]}
    assert index.search("birds", filter="year:2000..", mode="dense").ids == ["a"]
    assert index.search("birds", filter="day:2002-01-01..", mode="dense").ids == ["a"]
    # Again: nothing has changed.
    index.add(rows())
    assert index.commit().unchanged == 2


def test_columns_by_name(encoder: adam.Encoder, tmp_path: Path) -> None:
    index = adam.Index.create(tmp_path / "index", encoder)
    table = pl.DataFrame({"sku": [7, 8], "name": ["x", "y"], "body": ["A wire.", "A shell."], "price": [1.5, 2.0], "cost": [1, 2]})
    index.add(table, id="sku", title="name", text="body", keep=["price"])
    index.add(table.to_dicts(), id="sku", title="name", text="body", keep=["price"])
    index.commit()
    assert index.get("7") == {"id": "7", "title": "x", "text": "A wire.", "metadata": {"price": 1.5}}
    assert sorted(index.ids()) == ["7", "8"] and "8" in index and "9" not in index and index.get("9") is None


def test_vectors_that_are_there_already(encoder: adam.Encoder, tmp_path: Path) -> None:
    texts = ["Crows bend wire.", "Otters crack shells."]
    vectors = encoder.encode(texts)
    index = adam.Index.create(tmp_path / "index", encoder)
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), encoder.dimension)
    kinds = [vectors, [vector.tolist() for vector in vectors], fixed, pl.Series(vectors)]
    for number, kind in enumerate(kinds):
        ids = [f"{number}-{row}" for row in range(2)]
        if number < 2:
            index.add([{"id": id, "text": text, "vector": vector} for id, text, vector in zip(ids, texts, kind, strict=True)])
        elif number == 2:
            index.add(pa.table({"id": ids, "text": texts, "vector": kind}))
        else:
            index.add(pl.DataFrame({"id": ids, "text": texts, "vector": kind}))
    assert index.commit().encoded == 0
    hits = index.search(texts[1], mode="dense", top=8)
    best = float(encoder.encode_query(texts[1]) @ vectors[1])
    assert {hit.id for hit in hits[:4]} == {f"{number}-1" for number in range(4)}
    assert all(np.isclose(hit.score, best, atol=1e-6) for hit in hits[:4])


def test_update_delete_rollback(index: adam.Index) -> None:
    assert index.update([{"id": "crow", "metadata": {"year": 2003, "lang": None}, "seen": True}]) == 1
    report = index.commit()
    assert (report.reused, report.encoded) == (1, 0), "the text is the same"
    crow = index.get("crow")
    assert crow is not None and crow["metadata"] == {"year": 2003, "seen": True} and crow["title"] == "Crows"
    index.update([{"id": "crow", "text": "Crows drop nuts before cars."}])
    assert index.commit().encoded == 1
    with pytest.raises(adam.InputError, match="row 1: the index has no document `dodo`"):
        index.update([{"id": "crow", "title": "x"}, {"id": "dodo", "title": "y"}])
    assert index.commit().documents == 0
    index.delete("crow")
    index.delete(["raven", "otter"], filter="lang:de")
    assert "crow" in index, "before the commit"
    index.commit()
    assert sorted(index.ids()) == ["empty", "finch", "markup"]
    index.add([{"id": "new", "text": "x"}])
    index.rollback()
    index.commit()
    assert "new" not in index
    with pytest.raises(adam.InputError, match="nothing is deleted"):
        index.delete()


def test_with_block(encoder: adam.Encoder, tmp_path: Path) -> None:
    with adam.Index.create(tmp_path / "index", encoder) as index:
        index.add([{"id": "a", "text": "x"}])
    assert len(index) == 1
    with pytest.raises(RuntimeError, match="stop"), index:
        index.add([{"id": "b", "text": "y"}])
        raise RuntimeError("stop")
    index.commit()
    assert index.ids() == ["a"]


def test_one_writer(index: adam.Index) -> None:
    other = adam.Index.open(index.path)
    with pytest.raises(adam.LockedError, match="being written to"):
        other.add([{"id": "a", "text": "x"}])
    index.close()
    other.add([{"id": "a", "text": "x"}])
    other.commit()
    assert "a" in other


def test_hits(index: adam.Index) -> None:
    hits = index.search("birds that use tools", explain=True, total=True)
    assert len(hits) == len(hits.ids) == hits.total == len(list(hits)) and hits[0].id == hits[-len(hits)].id
    assert [hit.id for hit in hits[:2]] == hits.ids[:2]
    best = hits[0]
    assert best.explanation is not None and np.isclose(best.explanation["value"], best.score)
    assert {arm.name for arm in best.arms} == {"bm25", "dense"}
    assert best.id in repr(hits) and best.id in repr(best)
    table = pa.table(hits)
    assert table["id"].to_pylist() == hits.ids and table["score"].to_pylist() == [hit.score for hit in hits]
    assert pl.DataFrame(hits)["id"].to_list() == hits.ids
    markup = index.search("only human tools", mode="bm25")
    html = markup._repr_html_()
    assert "<b>not</b>" not in html and "a &lt; b &amp; c" in html and "<mark>human</mark>" in html
    with pytest.raises(IndexError):
        hits[len(hits)]


def test_chunks(encoder: adam.Encoder, tmp_path: Path) -> None:
    index = adam.Index.create(tmp_path / "index", encoder, language="german", chunk_tokens=16, chunk_overlap=2)
    text = " ".join(f"Satz {number} über Buckelwale und ihre Lieder." for number in range(20))
    index.add([{"id": "a", "text": text}])
    index.commit()
    assert len(index) == 1 and index.language == "german"
    snippet = index.search("Satz 19", mode="dense")[0].snippet
    assert snippet is not None and snippet.chunk is not None
    start, end = snippet.chunk
    assert 0 <= start < end <= len(text.encode())
    for options, words in [({"chunk_overlap": 2}, "give both or neither"), ({"chunk_tokens": 1000}, "reads")]:
        with pytest.raises(adam.InputError, match=words):
            adam.Index.create(tmp_path / "other", encoder, **options)
    assert not (tmp_path / "other").exists()


def test_reranker(index: adam.Index) -> None:
    def shortest(query: str, texts: list[str]) -> list[float]:
        assert query == "tools"
        return [-float(len(text)) for text in texts]

    ranked = adam.Index.open(index.path, reranker=shortest).search("tools", mode="dense", rerank=5, top=5)
    assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)
    assert ranked[0].arms[-1].name == "rerank"

    def broken(query: str, texts: list[str]) -> list[float]:
        raise LookupError("no scores today")

    with pytest.raises(adam.ModelError, match="no scores today"):
        adam.Index.open(index.path, reranker=broken).search("tools", mode="dense", rerank=5)


def test_lexical_needs_no_model(index: adam.Index) -> None:
    lexical = adam.Index.open(index.path, lexical=True)
    assert lexical.search("wire", mode="bm25").ids == ["crow"]
    with pytest.raises(adam.ModelError, match="no model was opened"):
        lexical.search("wire")


def test_create_and_open(index: adam.Index, encoder: adam.Encoder, model: Path, tmp_path: Path) -> None:
    with pytest.raises(adam.InputError, match="exist_ok"):
        adam.Index.create(index.path, encoder)
    assert len(adam.Index.create(index.path, encoder, exist_ok=True)) == len(DOCUMENTS)
    assert len(adam.Index.open(index.path, model=encoder)) == len(DOCUMENTS)
    with pytest.raises(adam.ModelError, match="cannot be compared"):
        adam.Index.open(index.path, model=adam.Encoder(model, max_length=16))
    with pytest.raises(adam.StorageError, match="no such folder"):
        adam.Index.open(tmp_path / "nothing")
    assert adam.Index.exists(index.path) and not adam.Index.exists(tmp_path)


def test_collections(collection: Path, encoder: adam.Encoder, tmp_path: Path) -> None:
    """Files as the program reads them, Parquet that pyarrow wrote among them."""
    lines = list(adam.Collection(collection).documents())
    assert [row["_id"] for row in lines] == [row["_id"] for row in DOCUMENTS]
    rows = [{"sku": row["_id"], "body": row["text"], "price": 1.5, "tags": ["a", "b"]} for row in DOCUMENTS]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    parquet = adam.Collection(path, id="sku", text="body", keep="all")
    read = list(parquet.documents())
    assert [(row["_id"], row["text"]) for row in read] == [(row["sku"], row["body"]) for row in rows]
    assert read[0]["metadata"] == {"price": 1.5, "tags": ["a", "b"]}
    index = adam.Index.create(tmp_path / "index", encoder)
    assert index.add(parquet.documents()) == len(rows)
    index.commit()
    assert len(index) == len(rows)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(adam.AdamError, match="rows.parquet"):
        list(adam.Collection(path, id="sku").documents())
