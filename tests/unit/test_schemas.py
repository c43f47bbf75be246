"""Columns are declared once, in full sentences, and every way of breaking a table is told."""

from __future__ import annotations

import pyarrow as pa
import pytest

from covidpipe.errors import BadTable
from covidpipe.provenance import STAGE_TABLES
from covidpipe.schemas import INFECTION, SPLIT, TABLES, check, codebook

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
        (split_table().set_column(2, "fold", pa.array([0, 1], pa.int64())), "wanted int32, found int64"),
        (split_table(group=["p", None]), "`group`: 1 nulls, none is allowed"),
        (split_table(fold=[-1, 0]), "values -1 to 0, allowed at least 0"),
        (split_table(image_id=["a", "a"]), "1 rows repeat their key"),
    ],
)
def test_a_broken_table_is_told(table, message):
    with pytest.raises(BadTable, match=message):
        check(table, SPLIT)


def test_a_fingerprint_moves_with_the_columns():
    assert INFECTION.fingerprint() != SPLIT.fingerprint()
