"""What `adam export` writes, as another engine reads it."""

import json
import subprocess
from pathlib import Path

import adam_search as adam
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest


def test_lancedb_reads_an_exported_index(program: Path, by_program: Path, tmp_path: Path) -> None:
    lancedb = pytest.importorskip("lancedb")
    file = tmp_path / "index.parquet"
    subprocess.run([program, "export", "--index", by_program, "--output", file], check=True, capture_output=True)
    rows = pq.read_table(file)
    said = {key.decode(): value.decode() for key, value in rows.schema.metadata.items()}
    index = adam.Index.open(by_program)
    assert int(said["adam.dimension"]) == index.dimension and float(said["adam.weight_of_vectors"]) == pytest.approx(index.hybrid_weight)
    metadata = dict(zip(rows.column("_id").to_pylist(), rows.column("metadata").to_pylist(), strict=True))
    assert json.loads(metadata["crow"]) == {"year": 2002, "lang": "en"}
    rows = rows.filter(pc.is_valid(rows.column("vector")))
    assert rows.num_rows > 5
    table = lancedb.connect(tmp_path / "lance").create_table("rows", rows)
    query = "birds that use tools"
    vector = np.asarray(index.encode_query(query), dtype=np.float32)
    found = table.search(vector, vector_column_name="vector").distance_type("cosine").limit(5).to_list()
    wanted = index.search(query, mode="dense", top=5)
    assert [row["_id"] for row in found] == wanted.ids
    assert [1 - row["_distance"] for row in found] == pytest.approx([hit.score for hit in wanted], abs=1e-4)
