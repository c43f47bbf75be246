"""docs/reading-the-table.md: every snippet is run, on a table in one file and on a large one in a folder."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import synthetic_table
from pages import DOCS, blocks

from covidpipe import cli
from covidpipe.io.files import write_pieces, write_table
from covidpipe.io.hive import write_dataset
from covidpipe.provenance import id_key, keyed_hash
from covidpipe.registry import SEVERITY
from covidpipe.schemas import INFECTION, PATIENTS, REJECTED, SUMMARY

PAGE = "reading-the-table.md"


@pytest.fixture
def rows() -> pa.Table:
    """Twenty patients, two of them with films, one of whom has a slice without a percentage."""
    table = synthetic_table.patients(0, 20, slices=3).to_pylist()
    table[1] |= dict.fromkeys(("infection_percent", "infection_percent_low", "infection_percent_high"))
    unread = {"qc_status": "rejected", "qc_reasons": ["unreadable"], "pipeline_version": "0", "schema_version": "0"}
    for method in synthetic_table.METHODS:
        table.append({"cohort": "big", "image_id": "unread", "method": method} | unread)
    return pa.Table.from_pylist(table, schema=INFECTION.schema)


@pytest.fixture
def truth(rows) -> dict[str, float]:
    """The answer to the page's question, counted by hand."""
    sums: dict[str, list[int]] = {}
    for row in rows.to_pylist():
        if row["method"] == "khan2020" and row["modality"] == "ct" and row["infection_percent"] is not None:
            infected, lung = sums.setdefault(row["patient_id"], [0, 0])
            sums[row["patient_id"]] = [infected + row["infected_px"], lung + row["lung_px"]]
    assert len(sums) == 18
    return {patient: pytest.approx(100 * infected / lung) for patient, (infected, lung) in sums.items()}


@pytest.fixture(params=["file", "folder"])
def layout(request, rows, tmp_path, monkeypatch) -> str:
    """The table as one of its two forms, in the working folder."""
    monkeypatch.chdir(tmp_path)
    if request.param == "file":
        write_pieces("infection.parquet", [rows], INFECTION)
    else:
        write_dataset("infection", [rows], INFECTION, 50)
    return request.param


def snippet(language: str, layout: str, word: str = "") -> str:
    """The page's first snippet in a language that has `word`, changed for a folder as the page says."""
    code = next(code for _, code in blocks(PAGE, language) if word in code)
    for_folder = "infection/**/*.parquet" if language == "sql" else "infection"
    return code if layout == "file" else code.replace("infection.parquet", for_folder)


def test_duckdb(layout, truth):
    found = duckdb.sql(snippet("sql", layout)).fetchall()
    assert {patient: percent for patient, _, percent in found} == truth
    assert [images for _, images, _ in found] == [2, *[3] * 17]
    assert len(duckdb.sql(snippet("sql", layout, "where patient_id")).fetchall()) == 6


def test_pandas(layout, truth):
    names: dict = {}
    exec(snippet("python", layout, "import pandas"), names)
    assert names["percent"].to_dict() == truth
    assert names["table"]["infection_percent"].isna().sum() == 1, "what is null stays so"


def test_polars(layout, truth):
    names: dict = {}
    exec(snippet("python", layout, "import polars"), names)
    assert isinstance(names["percent"], pl.DataFrame)
    assert dict(names["percent"].iter_rows()) == truth


def run_r(code: str, *packages: str) -> None:
    """Run `code` in R; skipped, with the reason, where R or one of its packages is missing."""
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    missing = f"cat(Filter(function(p) !requireNamespace(p, quietly = TRUE), c({', '.join(map(repr, packages))})))"
    lacks = subprocess.run(["Rscript", "-e", missing], capture_output=True, text=True, check=True).stdout
    if lacks:
        pytest.skip(f"R has not: {lacks}")
    ran = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def told_by_r() -> dict[str, float]:
    """What R left in `r.csv`, by patient."""
    told = pd.read_csv("r.csv", dtype={"patient_id": str})
    return dict(zip(told["patient_id"], told["percent"], strict=True))


KEEP = 'write.csv(percent, "r.csv", row.names = FALSE)\n'


def test_r(layout, truth):
    run_r(snippet("r", layout) + KEEP, "arrow", "dplyr")
    assert told_by_r() == truth


@pytest.mark.parametrize("layout", ["file"], indirect=True)
def test_r_without_arrow(layout, truth):
    code = snippet("r", layout, "nanoparquet")
    wanted = set(re.findall(r'"(\w+)"', code.partition("wanted <- c(")[2].partition(")")[0]))
    assert wanted <= set(INFECTION.names[: INFECTION.names.index("qc_reasons")]), "behind a list it gets lost"
    run_r(code + KEEP, "nanoparquet")
    assert told_by_r() == truth


def test_tables_that_r_is_told_to_read_whole_without_arrow_have_no_lists():
    for spec in (PATIENTS, SUMMARY, REJECTED):
        assert f"`{spec.name}.parquet`" in (DOCS / PAGE).read_text(encoding="utf-8")
        assert not any(pa.types.is_list(field.type) for field in spec.schema), spec.name


@pytest.mark.parametrize("layout", ["file"], indirect=True)
def test_r_knows_reasons_as_lists_nulls_as_na_and_words_as_characters(layout, rows):
    rejected = sum("unreadable" in row["qc_reasons"] for row in rows.to_pylist())
    lung = sum(row["lung_px"] or 0 for row in rows.to_pylist())
    checks = f"""
    unread <- sapply(table$qc_reasons, function(reasons) "unreadable" %in% reasons)
    stopifnot(sum(unread) == {rejected}, pixels == {lung}, nrow(screened) == 0)
    stopifnot(all(is.na(table$infection_percent[unread])), is.character(table$qc_status))
    stopifnot(is.logical(table$covid_positive), all(is.na(table$split)), !any(sapply(table, is.factor)))
    """
    run_r(snippet("r", layout, "screened_negative") + checks, "arrow")


def test_r_reads_the_csv_with_its_types(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pieces("infection.parquet", [rows], INFECTION)
    assert cli.main(["export", "infection.parquet", "--format", "csv"]) == cli.DONE
    assert "TRUE" in pd.read_csv("infection.csv", dtype=str)["covid_positive"].to_list()
    kinds = """
    stopifnot(is.logical(table$covid_positive), is.character(table$patient_id), is.numeric(table$infection_percent))
    stopifnot(any(table$covid_positive, na.rm = TRUE), sum(is.na(table$patient_id)) == 2, anyNA(table$qc_reasons))
    """
    run_r(snippet("r", "file", "read.csv") + kinds)


def test_the_severity_classes_of_the_page_are_those_of_the_table():
    levels = ", ".join(f'"{word}"' for word in SEVERITY)
    assert f"levels = c({levels})" in (DOCS / PAGE).read_text(encoding="utf-8")


def test_covariates_are_joined_by_hashes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text("patient,smoker\n007,yes\nB,no\nC,no\n")
    common = {"cohort": "c", "modality": "ct", "images": 1, "images_refused": 0, "lung_px": 10, "infected_px": 1}
    known = [
        common | {"patient_id": keyed_hash("patient", name, key=id_key()), "method": method}
        for name in ("007", "B")
        for method in ("alom2020", "khan2020")
    ]
    for row in known:  # whatever else a row must have
        row |= {
            column.name: column.values[0] if column.values else 0
            for column in PATIENTS.columns
            if not column.null_means and column.name not in row
        }
    write_table("patients.parquet", known, PATIENTS)
    names: dict = {}
    exec(snippet("python", "file", "people.csv"), names)
    joined = names["joined"]
    assert joined[["smoker", "method"]].to_numpy().tolist() == [
        ["yes", "alom2020"],
        ["yes", "khan2020"],
        ["no", "alom2020"],
        ["no", "khan2020"],
    ]
    assert "patient" not in joined.columns, "the plain identifier is left behind"


def test_the_commands_of_the_page_are_commands():
    lines = re.findall(r"^    (covidpipe .*)$", (DOCS / PAGE).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        assert callable(cli.parser().parse_args(shlex.split(line)[1:]).handler)
