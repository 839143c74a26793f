"""Ctrl-C, threads, and several models and indexes at once."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import adam_search as adam
import numpy as np
import pytest
from conftest import DOCUMENTS, QUERIES

LONG = ["Crows bend wire into hooks and fish with them. " * 20] * 4000


def interrupted(call: Any) -> float:
    """Seconds between Ctrl-C and the KeyboardInterrupt."""
    pressed = 0.0

    def press() -> None:
        nonlocal pressed
        pressed = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.5, press)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call()
    assert pressed > 0.0
    return time.perf_counter() - pressed


def test_ctrl_c_ends_a_long_encode(encoder: adam.Encoder) -> None:
    assert interrupted(lambda: encoder.encode(LONG)) < 5.0
    assert encoder.encode("still works").shape == (encoder.dimension,)


def test_ctrl_c_ends_a_commit_and_leaves_the_index_as_it_was(index: adam.Index) -> None:
    def work() -> None:
        # Few enough to wait in front of the model, so that it is the commit that takes long.
        index.add([{"id": str(number), "text": f"{number} {text}"} for number, text in enumerate(LONG[:500])])
        index.commit()

    assert interrupted(work) < 20.0
    index.rollback()
    assert index.commit().documents == 0 and len(index) == len(DOCUMENTS)
    index.add([{"id": "later", "text": "It takes rows again."}])
    index.commit()
    assert len(index) == len(DOCUMENTS) + 1


def test_two_models_and_two_indexes(model: Path, tmp_path: Path) -> None:
    encoders = [adam.Encoder(model), adam.Encoder(model, max_length=16, query_prompt="query: ")]
    assert encoders[0].fingerprint != encoders[1].fingerprint
    indexes = []
    for number, encoder in enumerate(encoders):
        index = adam.Index.create(tmp_path / str(number), encoder)
        index.add(DOCUMENTS)
        indexes.append(index)
    for index in indexes:
        index.commit()
    alone = [[index.search(query).to_dicts() for query in QUERIES] for index in indexes]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            jobs = [pool.submit(lambda i=index, q=query: i.search(q).to_dicts()) for index in indexes for query in QUERIES]
            assert [job.result() for job in jobs] == alone[0] + alone[1]


def test_encoders_in_threads_give_the_same(encoder: adam.Encoder) -> None:
    texts = [f"passage {number}" for number in range(200)]
    expected = encoder.encode(texts)
    with ThreadPoolExecutor(4) as pool:
        for made in pool.map(lambda _: encoder.encode(texts), range(8)):
            assert np.array_equal(made, expected)


def test_the_lock_is_released(encoder: adam.Encoder) -> None:
    """Another thread runs Python while a call encodes."""
    counts = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal counts
        while not stop.is_set():
            counts += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    before = counts
    encoder.encode(LONG[:40])
    during = counts - before
    stop.set()
    thread.join()
    assert during > 10


def test_import_is_quick_and_changes_nothing() -> None:
    code = (
        "import os, sys, time; before = dict(os.environ); start = time.perf_counter(); import adam_search; "
        "took = time.perf_counter() - start; assert dict(os.environ) == before; "
        "assert 'onnxruntime' not in sys.modules and 'torch' not in sys.modules; print(took)"
    )
    took = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3))
    assert took < 0.2
