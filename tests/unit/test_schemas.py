"""Columns are declared once, in full sentences, and every way of breaking a table is told."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from covidpipe.errors import BadTable
from covidpipe.provenance import STAGE_TABLES
from covidpipe.schemas import INFECTION, SCHEMA_VERSION, SPLIT, TABLES, check, codebook, first_out_of_order
from covidpipe.stages import collect

# The contract with other people's programs: appended, never renamed.
INFECTION_COLUMNS = [
    "cohort",
    "image_id",
    "patient_id",
    "study_id",
    "series_id",
    "slice_index",
    "modality",
    "method",
    "covid_probability",
    "covid_positive",
    "lung_px",
    "infected_px",
    "lung_mm2",
    "infected_mm2",
    "infection_percent",
    "infection_percent_low",
    "infection_percent_high",
    "left_lung_percent",
    "right_lung_percent",
    "lesion_count",
    "largest_lesion_mm2",
    "ggo_percent",
    "consolidation_percent",
    "reference_percentile",
    "qc_status",
    "qc_reasons",
    "split",
    "source_sha256",
    "classifier_id",
    "lung_model_id",
    "infection_model_id",
    "pipeline_version",
    "schema_version",
    "right_lung_px",
    "left_lung_px",
    "interval_status",
    "interval_level",
    "interval_patients",
    "pneumonia_probability",
    "pneumonia_positive",
    "pneumonia_model_id",
]


def split_table(**columns):
    values = {"image_id": ["a", "b"], "group": ["p", "q"], "fold": [0, 1]} | columns
    values |= {"protocol": ["grouped"] * 2}
    return pa.table(values, schema=pa.schema([column.field() for column in SPLIT.columns]))


def test_the_columns_of_the_table_are_those_of_the_contract():
    assert INFECTION.names[: len(INFECTION_COLUMNS)] == INFECTION_COLUMNS


@pytest.mark.parametrize("spec", TABLES.values(), ids=lambda spec: spec.name)
def test_every_column_is_told_in_a_sentence_and_known_once(spec):
    assert len(set(spec.names)) == len(spec.names)
    assert set(spec.key) | set(spec.sort_by) <= set(spec.names)
    assert all(row["text"].endswith(".") for row in codebook(spec))


def test_the_tables_that_stages_write_exist():
    assert {table for tables in STAGE_TABLES.values() for table in tables} <= set(TABLES)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (split_table().drop_columns(["fold"]), r"missing \['fold'\]"),
        (split_table().select(["group", "image_id", "fold", "protocol"]), "order changed"),
        (split_table().set_column(2, "fold", pa.array([0, 1], pa.int64())), "`fold`: found int64, wanted int32"),
        (split_table(group=["p", None]), "`group`, row 1: found null, wanted a value"),
        (split_table(fold=[-1, 0]), "`fold`, row 0: found -1, wanted at least 0"),
        (split_table(image_id=["a", "a"]), "row 1: repeats the key of another row: image_id=a"),
    ],
)
def test_a_broken_table_is_told(table, message):
    with pytest.raises(BadTable, match=message):
        check(table, SPLIT)


def infection_rows(**columns):
    """Two rows of the infection table; `columns` replaces some of them."""
    row = {
        "cohort": "c",
        "image_id": "a",
        "method": "alom2020",
        "qc_status": "ok",
        "qc_reasons": [],
        "pipeline_version": "0",
        "schema_version": "0",
    }
    table = pa.Table.from_pylist([row, row | {"method": "khan2020"}], schema=INFECTION.schema)
    for name, values in columns.items():
        at = INFECTION.names.index(name)
        table = table.set_column(at, INFECTION.schema.field(name), pa.array(values, INFECTION.columns[at].type))
    return table


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"infection_percent": [1.0, float("nan")]},
            "`infection_percent`, row 11: found nan, wanted a number, 0 to 100",
        ),
        ({"infection_percent": [None, 100.5]}, "`infection_percent`, row 11: found 100.5, wanted 0 to 100"),
        ({"lung_mm2": [float("inf"), None]}, "`lung_mm2`, row 10: found inf, wanted a number, at least 0, or null"),
        ({"modality": ["ct", "mr"]}, r"`modality`, row 11: found mr, wanted ct \| xr"),
        (
            {"qc_reasons": [["no_lung"], ["no_lung", "bad_luck"]]},
            r"`qc_reasons`, row 11: .*bad_luck.*wanted unreadable",
        ),
        (
            {"method": ["khan2020", "khan2020"]},
            "row 11: repeats the key of another row: cohort=c, image_id=a, method=kh",
        ),
    ],
)
def test_the_first_wrong_row_of_a_part_is_told(columns, message):
    check(infection_rows(), INFECTION, first_row=10)
    with pytest.raises(BadTable, match=message):
        check(infection_rows(**columns), INFECTION, first_row=10)


def test_rows_out_of_order_are_found_whatever_is_null():
    rows = [("a", None, 2), ("a", None, 3), ("b", 0, 1), ("b", 1, 0), ("b", None, 0), (None, 0, 0), (None, None, 0)]
    names = ["x", "y", "z"]

    def first(rows):
        return first_out_of_order(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows]), names)

    assert first(rows) is None
    for n in range(1, len(rows)):
        swapped = [*rows[: n - 1], rows[n], rows[n - 1], *rows[n + 1 :]]
        assert first(swapped) == n, "the row that should have come first"
        assert first([*rows[:n], rows[n - 1], *rows[n:]]) == n, "a row that comes twice"


@pytest.mark.parametrize("spec", TABLES.values(), ids=lambda spec: spec.name)
def test_no_cell_of_a_codebook_is_empty_and_the_three_say_the_same(spec):
    rows = codebook(spec)
    assert all(cell.strip() for row in rows for cell in row.values())
    for row, field in zip(rows, spec.schema, strict=True):
        facts = {key.decode(): value.decode() for key, value in field.metadata.items()}
        assert (row["column"], row["type"]) == (field.name, str(field.type))
        assert facts == {"description": row["text"], **{key: row[key] for key in ("unit", "range", "null_means")}}
        assert field.nullable == (row["null_means"] != "never null")


def test_the_changelog_tells_in_which_version_each_column_came():
    text = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8").split("## Columns of the tables")[1]
    told = re.findall(r"^- (\d+\.\d+\.\d+) `(\w+)`: (.+?)(?=^- |\Z)", text, re.DOTALL | re.MULTILINE)
    history: dict[str, list[str]] = {}
    for _, table, columns in told:
        history.setdefault(table, []).extend(re.findall(r"\w+", columns))
    for spec in collect.TABLES:
        assert history[spec.name] == spec.names, (
            f"`{spec.name}` has other columns than CHANGELOG.md: raise SCHEMA_VERSION and list the new ones there"
        )
    versions = [tuple(map(int, version.split("."))) for version, _, _ in told]
    assert versions == sorted(versions) and max(versions) <= tuple(map(int, SCHEMA_VERSION.split(".")))


def test_a_fingerprint_moves_with_the_columns():
    assert INFECTION.fingerprint() != SPLIT.fingerprint()
