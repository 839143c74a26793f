"""Vectors go into the memory of NumPy's arrays, and nothing is copied."""

import tracemalloc
from pathlib import Path

import adam_search as adam
import numpy as np
import pyarrow as pa
import pytest

TEXTS = [f"passage number {number} about crows" for number in range(300)]


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_shapes(encoder: adam.Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (300, encoder.dimension) and vectors.dtype == np.float32
    assert vectors.flags.c_contiguous and vectors.flags.writeable and vectors.flags.owndata
    assert encoder.encode("crows").shape == (encoder.dimension,)
    assert encoder.encode([]).shape == (0, encoder.dimension)
    assert np.array_equal(encoder.encode(pa.chunked_array([TEXTS[:100], TEXTS[100:]])), vectors)


def test_written_to_the_array_given(encoder: adam.Encoder, tmp_path: Path) -> None:
    """The model's rows are written to this address: the array is the one given, and its memory holds the vectors."""
    out = np.full((300, encoder.dimension), np.nan, dtype=np.float32)
    before = address(out)
    made = encoder.encode(TEXTS, out=out)
    assert made is out and address(made) == before
    assert np.array_equal(out, encoder.encode(TEXTS))
    # A part of a larger array, and a file.
    whole = np.memmap(tmp_path / "vectors.f32", dtype=np.float32, mode="w+", shape=(500, encoder.dimension))
    encoder.encode(TEXTS, out=whole[100:400])
    assert np.array_equal(whole[100:400], out) and not whole[:100].any() and not whole[400:].any()


def test_no_second_array(encoder: adam.Encoder) -> None:
    """NumPy reports its memory: at no time is there more than the one array, and the array owns what it shows."""
    encoder.encode(TEXTS[:1])
    tracemalloc.start()
    vectors = encoder.encode(TEXTS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert vectors.flags.owndata and vectors.base is None
    assert vectors.nbytes <= peak < 1.5 * vectors.nbytes


def test_arrays_that_do_not_fit(encoder: adam.Encoder) -> None:
    dimension = encoder.dimension
    for out, words in [
        (np.zeros((2, dimension), np.float32), "shape"),
        (np.zeros((3, dimension), np.float64), "float32"),
        (np.zeros((3, dimension * 2), np.float32)[:, ::2], "contiguous"),
        (np.zeros(3, np.float32), "two dimensions"),
        ([0.0], "NumPy"),
    ]:
        with pytest.raises(adam.InputError, match=words):
            encoder.encode(TEXTS[:3], out=out)
    frozen = np.zeros((3, dimension), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(adam.InputError, match="read-only"):
        encoder.encode(TEXTS[:3], out=frozen)


def test_kinds(encoder: adam.Encoder, model: Path) -> None:
    with_prompts = adam.Encoder(model, query_prompt="query: ", document_prompt="passage: ")
    for kind, text in [("query", "query: crows"), ("document", "passage: crows"), ("passage", "passage: crows")]:
        assert np.allclose(with_prompts.encode("crows", kind=kind), encoder.encode(text), atol=1e-6)
    assert np.array_equal(with_prompts.encode_query(["a"]), with_prompts.encode(["a"], kind="query"))
    assert np.array_equal(with_prompts.encode_document(["a"]), with_prompts.encode(["a"]))
    with pytest.raises(adam.InputError, match="document, passage or query"):
        encoder.encode("crows", kind="question")


def test_progress(encoder: adam.Encoder) -> None:
    heard: list[tuple[int, int]] = []
    encoder.encode(TEXTS, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (300, 300) and heard == sorted(heard) and len(heard) > 1

    class Bar:
        n = 0

        def update(self, n: int) -> None:
            self.n += n

    bar = Bar()
    encoder.encode(TEXTS, progress=bar)
    assert bar.n == 300

    def broken(done: int, total: int) -> None:
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        encoder.encode(TEXTS, progress=broken)
