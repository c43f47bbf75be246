"""A file is either whole or not there, and a table is what its schema says."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from covidpipe.errors import BadTable
from covidpipe.io.files import read_frame, read_table, replacing, write_json, write_table
from covidpipe.schemas import HISTORY, SPLIT

ROWS = [{"image_id": "b", "group": "p", "fold": 1}, {"image_id": "a", "group": "p", "fold": 1}]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == '{\n  "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_is_replaced_whole(tmp_path):
    for name in ("old", "new"):
        with replacing(tmp_path / "folder") as partial:
            partial.mkdir()
            (partial / name).write_text(name)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["new"]


def test_the_same_rows_in_any_order_give_the_same_bytes(tmp_path):
    write_table(tmp_path / "one.parquet", ROWS, SPLIT)
    write_table(tmp_path / "two.parquet", ROWS[::-1], SPLIT)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert read_frame(tmp_path / "one.parquet", SPLIT)["image_id"].tolist() == ["a", "b"]


def test_a_table_carries_its_codebook(tmp_path):
    write_table(tmp_path / "t.parquet", ROWS, SPLIT)
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert b"codebook" in schema.metadata and schema.metadata[b"table"] == b"split"
    assert schema.field("fold").metadata[b"description"].endswith(b".")


def test_a_table_that_another_program_wrote_is_read_or_refused_with_the_row(tmp_path):
    write_table(tmp_path / "t.parquet", ROWS, SPLIT)
    table = pq.read_table(tmp_path / "t.parquet")
    pq.write_table(
        pa.table(table.to_pydict(), pa.schema([(f.name, f.type) for f in table.schema])), tmp_path / "t.parquet"
    )
    assert read_table(tmp_path / "t.parquet", SPLIT).schema.equals(SPLIT.schema, check_metadata=True)
    changed = table.to_pydict() | {"group": ["p", None]}
    pq.write_table(pa.table(changed, pa.schema([(f.name, f.type) for f in table.schema])), tmp_path / "t.parquet")
    with pytest.raises(BadTable, match="`group`, row 1: found null"):
        read_table(tmp_path / "t.parquet", SPLIT)


def test_a_missing_truncated_or_other_table_is_told(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(BadTable, match="there is no such table"):
        read_table(path, SPLIT)
    write_table(path, ROWS, SPLIT)
    with pytest.raises(BadTable, match="columns differ"):
        read_table(path, HISTORY)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadTable, match="not a whole Parquet file"):
        read_table(path, SPLIT)
