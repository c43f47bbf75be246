"""Large tables in a folder, tables that are checked, and tables for spreadsheets."""

from __future__ import annotations

import csv

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import synthetic_table
import tiny_cohort as tiny

from covidpipe import cli, schemas
from covidpipe.errors import BadTable, UsageError
from covidpipe.io import export, files, validate
from covidpipe.io.files import read_columns, read_pieces, read_rows, read_table, write_pieces, write_table
from covidpipe.io.hive import write_dataset
from covidpipe.io.shards import shard_folders
from covidpipe.schemas import INFECTION, REJECTED


@pytest.fixture
def rows() -> pa.Table:
    """80 rows of 20 patients, two of them with films, and a file that nobody could read."""
    table = synthetic_table.patients(0, 20, slices=2)
    unread = {
        "cohort": "big",
        "image_id": "unread",
        "qc_status": "rejected",
        "qc_reasons": ["unreadable"],
        "pipeline_version": "0",
        "schema_version": "0",
    }
    last = [unread | {"method": method} for method in synthetic_table.METHODS]
    return pa.concat_tables([table, pa.Table.from_pylist(last, schema=INFECTION.schema)])


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    monkeypatch.setattr(files, "ROW_GROUP", 16)


@pytest.mark.parametrize(("start", "count"), [(0, 5), (14, 4), (16, 16), (20, 45), (75, 16), (81, 4), (500, 4), (0, 0)])
def test_some_rows_are_read_without_the_row_groups_that_hold_none_of_them(rows, tmp_path, monkeypatch, start, count):
    write_table(tmp_path / "big.parquet", rows, INFECTION)
    whole, read = read_table(tmp_path / "big.parquet", INFECTION), []
    group = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, n: read.append(n) or group(self, n))
    assert read_rows(tmp_path / "big.parquet", INFECTION, start, count) == whole.slice(start, count)
    assert read == sorted({n // 16 for n in range(start, min(start + count, len(rows)))})


def test_some_rows_of_another_table_are_refused(rows, tmp_path):
    pq.write_table(rows.drop_columns("qc_status"), tmp_path / "old.parquet")
    with pytest.raises(BadTable, match=r"old\.parquet: .*qc_status.*make the table anew"):
        read_rows(tmp_path / "old.parquet", INFECTION, 3, 4)
    with pytest.raises(BadTable, match="there is no such table"):
        read_rows(tmp_path / "none.parquet", INFECTION, 3, 4)


def test_some_columns_are_those_of_the_whole_table_in_a_file_and_in_a_folder(rows, tmp_path):
    names = ["modality", "infection_percent", "qc_reasons"]
    write_table(tmp_path / "big.parquet", rows, INFECTION)
    write_dataset(tmp_path / "big", [rows], INFECTION, 30)
    for place in ("big.parquet", "big"):
        assert read_columns(tmp_path / place, INFECTION, names) == read_table(tmp_path / place, INFECTION).select(names)
    write_table(tmp_path / "none.parquet", [], INFECTION)
    assert read_columns(tmp_path / "none.parquet", INFECTION, names).num_rows == 0
    # what is left out is checked too: a file with a wrong value is no table of percentages
    wrong = rows.set_column(rows.schema.names.index("qc_status"), "qc_status", pa.array(["fine"] * len(rows)))
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    with pytest.raises(BadTable, match=r"wrong\.parquet: .*qc_status.*fine"):
        read_columns(tmp_path / "wrong.parquet", INFECTION, names)


def test_a_folder_holds_the_same_rows_wherever_its_pieces_were_cut(rows, tmp_path):
    content = []
    for cut in (5, 7, 100):
        pieces = [rows.slice(start, cut) for start in range(0, len(rows), cut)]
        assert write_dataset(tmp_path / str(cut), pieces, INFECTION, 30) == len(rows)
        written = sorted((tmp_path / str(cut)).rglob("*.parquet"))
        content.append([(str(file.relative_to(tmp_path / str(cut))), file.read_bytes()) for file in written])
    assert content[0] == content[1] == content[2]
    assert [name for name, _ in content[0]] == [
        "cohort=big/modality=__HIVE_DEFAULT_PARTITION__/infection-00000.parquet",
        "cohort=big/modality=ct/infection-00000.parquet",
        "cohort=big/modality=ct/infection-00001.parquet",
        "cohort=big/modality=ct/infection-00002.parquet",
        "cohort=big/modality=xr/infection-00000.parquet",
    ]
    again = read_table(tmp_path / "7", INFECTION)
    assert again.schema == INFECTION.schema
    assert again.sort_by([(name, "ascending") for name in INFECTION.sort_by]) == rows
    parts = [pq.ParquetFile(file) for file in written]
    assert [part.metadata.num_rows for part in parts] == [2, 30, 30, 12, 8]
    assert all(part.metadata.row_group(0).num_rows <= 16 for part in parts)


def test_a_cohort_whose_name_is_a_number_stays_a_word(tmp_path):
    write_dataset(tmp_path / "t", [synthetic_table.patients(0, 1, slices=1, cohort="2020")], INFECTION, 30)
    assert read_table(tmp_path / "t", INFECTION)["cohort"].to_pylist() == ["2020", "2020"]


def test_one_folder_stands_for_the_shards_of_the_image_table(tmp_path):
    images = tiny.write_images(tmp_path)  # of four images
    for number in range(5):  # of an earlier run, with more of them
        (tmp_path / "shards" / f"{number:05d}").mkdir(parents=True)
    shards = [tmp_path / "shards" / f"{number:05d}" for number in range(3)]
    assert shard_folders([tmp_path / "shards"], images, 2) == shards[:2]
    assert shard_folders([tmp_path / "shards"], images, 3) == shards[:2]
    assert shard_folders(shards, images, 2) == shards
    assert shard_folders(shards[:1], images, 2) == shards[:1]


def test_a_query_for_one_patient_finds_few_row_groups(rows, tmp_path):
    write_pieces(tmp_path / "t.parquet", [rows], INFECTION)
    data = ds.dataset(tmp_path / "t.parquet")
    for patient in pc.unique(rows["patient_id"]).drop_null().to_pylist():
        (fragment,) = data.get_fragments(ds.field("patient_id") == patient)
        assert len(fragment.subset(ds.field("patient_id") == patient).row_groups) <= 2
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 6


def test_two_row_groups_of_ten_million_rows_are_half_a_percent(monkeypatch):
    monkeypatch.undo()  # the size of the tables that are written, not that of these tests
    assert 2 * files.ROW_GROUP / 10_000_000 < 0.005


def test_files_that_do_not_belong_into_the_folder_are_told(rows, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadTable, match="found a folder without Parquet files"):
        read_table(tmp_path / "empty", INFECTION)
    write_table(tmp_path / "t" / "stray.parquet", rows, INFECTION)
    with pytest.raises(BadTable, match=r"stray.parquet: wanted files of table `infection` in cohort=.../modality=..."):
        read_table(tmp_path / "t", INFECTION)


def test_pieces_out_of_order_are_not_written(rows, tmp_path):
    with pytest.raises(BadTable, match="row 40: wanted rows sorted by cohort, patient_id"):
        write_pieces(tmp_path / "t.parquet", [rows.slice(0, 40), rows.slice(39)], INFECTION)
    with pytest.raises(BadTable, match="row 12: wanted rows sorted"):
        write_dataset(tmp_path / "t", [rows.slice(8, 12), rows.slice(8)], INFECTION, 9)
    assert not list(tmp_path.iterdir())


def changed(rows: pa.Table, name: str, row: int, value) -> pa.Table:
    values = rows[name].to_pylist()
    values[row] = value
    at = rows.column_names.index(name)
    return rows.set_column(at, rows.field(at).with_nullable(True), pa.array(values, rows.field(at).type))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("infection_percent", 100.5, "column `infection_percent`, row 50: found 100.5, wanted 0 to 100"),
        ("infection_percent", float("nan"), "column `infection_percent`, row 50: found nan, wanted a number"),
        ("modality", "mr", r"column `modality`, row 50: found mr, wanted ct \| xr"),
        ("qc_status", None, "column `qc_status`, row 50: found null, wanted a value"),
        ("qc_reasons", ["sorry"], r"column `qc_reasons`, row 50: found \['sorry'\], wanted unreadable"),
        ("patient_id", "0", "row 50: wanted rows sorted by cohort, patient_id"),
    ],
)
def test_validate_names_the_first_wrong_row_of_any_row_group(rows, tmp_path, capsys, name, value, message):
    path = tmp_path / "infection.parquet"
    pq.write_table(changed(rows, name, 50, value), path, row_group_size=16)
    with pytest.raises(BadTable, match=message):
        validate.validate(path, INFECTION)
    assert cli.main(["validate", str(path)]) == cli.BAD_INPUT
    assert f"covidpipe: {path}: Table `infection`, " in capsys.readouterr().err


def test_validate_finds_a_key_that_comes_twice_far_apart(rows, tmp_path):
    twice = changed(changed(rows, "image_id", 1, "x"), "image_id", 61, "x")
    pq.write_table(twice, tmp_path / "t.parquet", row_group_size=16)
    with pytest.raises(BadTable, match="repeats the key of another row: cohort=big, image_id=x, method=khan2020"):
        validate.validate(tmp_path / "t.parquet", INFECTION)


def test_two_keys_with_one_hash_are_two_keys(rows, tmp_path, monkeypatch):
    write_table(tmp_path / "t.parquet", rows, INFECTION)
    monkeypatch.setattr(validate, "_hashes", lambda piece, spec: np.full(len(piece), 7, np.uint64))
    assert validate.validate(tmp_path / "t.parquet", INFECTION).rows == len(rows)


def test_validate_takes_the_file_and_the_folder_and_older_tables(rows, tmp_path, capsys):
    write_pieces(tmp_path / "infection.parquet", [rows], INFECTION)
    write_dataset(tmp_path / "infection", [rows], INFECTION, 30)
    for name in ("infection.parquet", "infection"):
        assert cli.main(["validate", str(tmp_path / name)]) == cli.DONE
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(f"82 rows, as schema {schemas.SCHEMA_VERSION} wants table `infection`.")
    assert "82 rows in 5 files" in said[1]
    old = rows.select(INFECTION.names[:30]).replace_schema_metadata({"schema_version": "0.9.0"})
    pq.write_table(old, tmp_path / "old.parquet")
    assert validate.validate(tmp_path / "old.parquet", INFECTION).schema_version == "0.9.0"
    pq.write_table(old.drop_columns(["lung_px"]), tmp_path / "old.parquet")
    with pytest.raises(BadTable, match=r"missing \['lung_px'"):
        validate.validate(tmp_path / "old.parquet", INFECTION)


# The ways into a spreadsheet's formulas that OWASP lists, and what is none.
ATTACKS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1")
HARMLESS = ("a=1", "", "'", "two\nlines", 'a "quoted", word')


@pytest.fixture
def hostile(tmp_path):
    """A table of rejected files whose sentences are attacks."""
    rows = [
        {"cohort": "c", "image_id": f"{n:02d}", "frame": n, "reason": "unreadable", "sentence": text}
        for n, text in enumerate(ATTACKS + HARMLESS)
    ]
    write_table(tmp_path / "rejected.parquet", rows, REJECTED)
    return tmp_path / "rejected.parquet"


def test_no_cell_of_a_csv_begins_like_a_formula(hostile):
    out = hostile.with_suffix(".csv")
    assert cli.main(["export", str(hostile), "--table", "rejected", "--format", "csv"]) == cli.DONE
    with out.open(newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    assert [cell["sentence"] for cell in cells] == [*("'" + text for text in ATTACKS), *HARMLESS]
    assert [cell["frame"] for cell in cells] == [str(n) for n in range(len(cells))], "numbers stay numbers"
    assert {cell["source_sha256"] for cell in cells} == {""}, "a null is an empty cell"


def test_no_cell_of_a_workbook_is_a_formula(hostile, tmp_path):
    out = tmp_path / "book.xlsx"
    assert cli.main(["export", str(hostile), "--table", "rejected", "--format", "xlsx", "--out", str(out)]) == cli.DONE
    book = openpyxl.load_workbook(out)
    assert book.sheetnames == ["rejected", "codebook"]
    heading, *lines = book["rejected"].iter_rows()
    place = {cell.value: n for n, cell in enumerate(heading)}
    assert list(place) == REJECTED.names
    # openpyxl reads the carriage return as XML writes it
    found = [(line[place["sentence"]].value or "").replace("_x000D_", "\r") for line in lines]
    assert found == [*("'" + text for text in ATTACKS), *HARMLESS]
    kinds = {cell.data_type for sheet in book for line in sheet.iter_rows() for cell in line}
    assert kinds <= {"s", "n"}, "text, numbers and nothing"
    assert [line[place["frame"]].value for line in lines] == list(range(len(lines)))
    assert [line[1].value for line in book["codebook"].iter_rows(min_row=2)] == REJECTED.names
    again = tmp_path / "again.xlsx"
    export.export(hostile, REJECTED, "xlsx", again)
    assert again.read_bytes() == out.read_bytes()


def test_an_export_has_every_row_of_the_table_or_is_not_made(rows, tmp_path, monkeypatch):
    write_dataset(tmp_path / "infection", [rows], INFECTION, 30)
    out = tmp_path / "out.csv"
    assert export.export(tmp_path / "infection", INFECTION, "csv", out) == len(rows)
    with out.open(newline="") as file:
        cells = list(csv.DictReader(file))
    whole = pa.concat_tables(read_pieces(tmp_path / "infection", INFECTION)).to_pylist()
    assert [float(cell["infection_percent"] or "nan") for cell in cells] == pytest.approx(
        [float("nan") if row["infection_percent"] is None else row["infection_percent"] for row in whole], nan_ok=True
    )
    assert cells[0]["qc_reasons"] == "unreadable" and cells[0]["patient_id"] == ""
    monkeypatch.setattr(export, "SHEET_ROWS", 82)
    with pytest.raises(UsageError, match=r"82 rows, and a worksheet holds 81\. Export csv"):
        export.export(tmp_path / "infection", INFECTION, "xlsx", tmp_path / "out.xlsx")
    pq.write_table(changed(rows, "lung_px", 3, -1), tmp_path / "bad.parquet")
    with pytest.raises(BadTable, match="`lung_px`, row 3"):
        export.export(tmp_path / "bad.parquet", INFECTION, "csv", tmp_path / "bad.csv")
    assert not (tmp_path / "bad.csv").exists()
