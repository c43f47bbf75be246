"""A cohort described: numbers by hand, covariates joined without identifiers, small cells that cannot be worked out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny_cohort as tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from test_collect import write_shards

from covidpipe.errors import BadConfig, BadTable
from covidpipe.io.covariates import read_covariates
from covidpipe.io.files import read_json, read_table, to_table
from covidpipe.metrics.intervals import PatientBootstrap
from covidpipe.provenance import id_key, keyed_hash
from covidpipe.quantify.cohort import Description, Group, describe
from covidpipe.quantify.disclosure import hidden_cells, hidden_in_line
from covidpipe.registry import SEVERITY
from covidpipe.schemas import IMAGES, INFECTION, SUMMARY
from covidpipe.sealed import seal
from covidpipe.stages import collect


def group_of(percents, classes=None, **levels) -> Group:
    percents = np.array(percents, float)
    return Group(
        percents,
        np.arange(len(percents)),
        None if classes is None else np.array(classes, np.int64),
        {name: np.array(values, str) for name, values in levels.items()},
    )


def rows_of(group, least=1):
    return {(r["covariate"], r["level"], r["measure"], r.get("severity_class")): r for r in describe(group, least, 0)}


def test_mean_quantiles_and_shares_by_hand():
    percents = [0.0, 10.0, 20.0, 30.0, 60.0, float("nan")]
    found = rows_of(group_of(percents, [0, 2, 2, 3, 4, -1]))
    mean = found["all", "all", "infection_percent_mean", None]
    assert (mean["value"], mean["n"], mean["patients"]) == (24.0, 5, 5)
    assert mean["low"] < 24 < mean["high"] and mean["interval"] == "bootstrap of 5 patients"
    assert [found["all", "all", f"infection_percent_p{q}", None]["value"] for q in (10, 25, 50, 75, 90)] == [
        pytest.approx(value) for value in (4.0, 10.0, 20.0, 30.0, 48.0)
    ]
    classes = [found["all", "all", "severity_percent", word] for word in SEVERITY]
    assert [(row["k"], row["n"], row["value"]) for row in classes] == [
        (1, 5, 20.0), (0, 5, 0.0), (2, 5, 40.0), (1, 5, 20.0), (1, 5, 20.0), (0, 5, 0.0)
    ]  # fmt: skip
    assert all(row["low"] <= row["value"] <= row["high"] for row in classes)
    missing = found["all", "all", "without_percent", None]
    assert (missing["k"], missing["n"], missing["value"]) == (1, 6, pytest.approx(100 / 6))


def test_levels_are_described_apart_and_the_unknown_are_a_level():
    found = rows_of(group_of([10, 20, 30, 40], [2] * 4, sex=["F", "F", "M", "unknown"]))
    values = {level: found["sex", level, "infection_percent_mean", None]["value"] for level in ("F", "M", "unknown")}
    assert values == {"F": 15.0, "M": 30.0, "unknown": 40.0}
    assert found["sex", "F", "severity_percent", "5-25"]["k"] == 2


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_intervals_of_quantiles_are_those_of_resampled_rows(share):
    rng = np.random.default_rng(3)
    percents = np.round(rng.gamma(1.0, 20.0, 60).clip(0, 100), 1)
    groups = rng.integers(0, 12, 60)
    wanted = PatientBootstrap(groups).of_rows(percents, lambda rows: float(np.quantile(rows, share)), (0, 100))
    group = Group(percents, groups, None, {})
    found = rows_of(group)["all", "all", f"infection_percent_p{100 * share:.0f}", None]
    assert (found["low"], found["high"]) == (pytest.approx(wanted.low), pytest.approx(wanted.high))


def test_many_values_are_counted_in_steps_and_hardly_move_the_interval(monkeypatch):
    from covidpipe.quantify import cohort

    percents = np.random.default_rng(1).gamma(1.0, 20.0, 300).clip(0, 100)
    exact = rows_of(group_of(percents))["all", "all", "infection_percent_p50", None]
    monkeypatch.setattr(cohort, "LEVELS", 10)
    steps = rows_of(group_of(percents))["all", "all", "infection_percent_p50", None]
    assert steps["value"] == exact["value"]
    assert max(abs(steps[end] - exact[end]) for end in ("low", "high")) <= cohort.STEP


def test_many_patients_are_not_drawn_again(monkeypatch):
    from covidpipe.quantify import cohort

    percents = np.random.default_rng(1).gamma(1.0, 20.0, 300).clip(0, 100)
    drawn = rows_of(group_of(percents))
    monkeypatch.setattr(cohort, "MANY", 299)
    for measure, how in (("infection_percent_mean", "normal"), ("infection_percent_p75", "Woodruff")):
        row, other = (rows["all", "all", measure, None] for rows in (rows_of(group_of(percents)), drawn))
        assert row["interval"] == f"{how}, 300 patients" and row["value"] == other["value"]
        assert row["low"] < row["value"] < row["high"]
        assert abs(row["low"] - other["low"]) < 0.2 * (other["high"] - other["low"])


def test_small_groups_are_not_told():
    found = rows_of(group_of([10, 20, 30, 40], [2] * 4), least=5)
    assert all(row["suppressed"] and "value" not in row and "n" not in row for row in found.values())
    twelve = rows_of(group_of(range(12), [2] * 12), least=5)
    assert not twelve["all", "all", "infection_percent_mean", None]["suppressed"]
    shown = {q: not twelve["all", "all", f"infection_percent_p{q}", None]["suppressed"] for q in (10, 25, 50, 75, 90)}
    assert shown == {10: False, 25: False, 50: True, 75: False, 90: False}  # fewer than five lie beyond the others


def test_levels_that_are_too_small_lose_their_names():
    sex = ["F"] * 9 + ["M"] * 7 + ["a name"] * 2
    found = rows_of(group_of(range(18), [2] * 18, sex=sex), least=5)
    levels = {level for covariate, level, *_ in found if covariate == "sex"}
    assert levels == {"F", "(suppressed)"}  # M would follow by subtraction
    assert found["sex", "(suppressed)", "infection_percent_mean", None]["suppressed"]


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [
        ([10, 20, 5, 0], "...."),
        ([10, 20, 4, 0], "x.x."),  # the 10 goes with the 4: alone it would follow from the total
        ([10, 20, 1, 1], "x.xx"),  # two ones sum up to 2
        ([10, 20, 3, 2], "..xx"),
        ([4, 0, 0, 0], "xxxx"),
        ([0, 4, 5], ".xx"),
    ],
)
def test_one_line_by_hand(counts, hidden):
    assert "".join(".x"[int(cell)] for cell in hidden_in_line(counts, 5)) == hidden
    assert not hidden_in_line(counts, 1).any()


def table_of(levels: int, classes: int):
    return st.lists(st.lists(st.integers(0, 14), min_size=classes, max_size=classes), min_size=levels, max_size=levels)


tables = st.tuples(st.integers(1, 4), st.integers(2, 4)).flatmap(lambda shape: table_of(*shape))


@settings(max_examples=60, deadline=None)
@example([[0, 0, 5], [0, 5, 1]])
@example([[5, 0, 0], [0, 6, 0], [1, 0, 9]])
@example([[0, 0, 1, 4], [0, 0, 4, 1], [1, 4, 0, 1]])
@given(tables)
def test_no_small_count_can_be_worked_out_from_what_is_shown(cells):
    """Whoever solves all equations of what is shown finds more than one answer for each small count."""
    table, least = np.array(cells, np.int64), 5
    totals = table.sum(axis=0)
    if totals.sum() < least or not table.sum(axis=1).all():
        return  # nothing of the group is told at all; there is no level without patients
    hidden = hidden_cells(totals, {"a": table}, least)
    mask, hidden_totals = hidden.cells["a"], hidden.totals
    assert mask[(table > 0) & (table < least)].all()
    equations, values = [], []

    def known(where, value):
        equations.append(where.ravel().astype(float))
        values.append(float(value))

    for row, column in np.argwhere(~mask):
        where = np.zeros(table.shape)
        where[row, column] = 1
        known(where, table[row, column])
    for row in np.flatnonzero(~hidden.levels["a"]):
        where = np.zeros(table.shape)
        where[row] = 1
        known(where, table[row].sum())
    for column in np.flatnonzero(~hidden_totals):
        where = np.zeros(table.shape)
        where[:, column] = 1
        known(where, totals[column])
    known(np.ones(table.shape), totals.sum())
    for row, column in np.argwhere((table > 0) & (table < least)):
        aim = np.zeros(table.shape)
        aim[row, column] = 1
        ends = [
            linprog(sign * aim.ravel(), A_eq=np.array(equations), b_eq=values, bounds=(0, None)).fun for sign in (1, -1)
        ]
        assert -ends[1] - ends[0] >= 1, (table, mask, hidden_totals)


def test_a_class_without_patients_is_told_even_if_all_levels_are_hidden():
    found = rows_of(group_of([10] * 3 + [30] * 5, [2] * 3 + [3] * 5, sex=["F", "M"] * 4), least=5)
    shown = {word: found["all", "all", "severity_percent", word].get("k") for word in SEVERITY}
    assert shown == {"0": 0, "<5": 0, "5-25": None, "26-49": None, "50-75": 0, ">75": 0}


def test_a_hidden_total_is_hidden_for_every_covariate():
    sex = np.array([[9, 3], [9, 6]], np.int64)
    age = np.array([[8, 9], [10, 0]], np.int64)
    cells = hidden_cells(sex.sum(axis=0), {"sex": sex, "age": age}, 5).cells
    assert cells["sex"].all() and not cells["age"].any()
    hidden = hidden_cells([20, 4], {"sex": np.array([[10, 2], [10, 2]]), "age": np.array([[20, 4]])}, 5)
    assert hidden.totals.all() and hidden.cells["age"].all() and hidden.cells["sex"].all()


def test_what_follows_from_several_lines_together_is_hidden():
    """Both upper rows and the third column give the last cell of the fourth, though each line hides enough."""
    table = np.array([[0, 0, 1, 4], [0, 0, 4, 1], [1, 4, 0, 1]])
    cells = hidden_cells(table.sum(axis=0), {"a": table}, 5).cells["a"]
    assert cells[2, 2]


def covariates(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_patients_are_hashed_as_their_images_are(tmp_path):
    key = b"k" * 32
    found = read_covariates(covariates(tmp_path / "c.csv", "patient,issuer,sex,age_band\nP1,,F,60-69\nP2,H,M,\n"), key)
    assert found.names == ("sex", "age_band")
    assert found.of_patient == {
        keyed_hash("patient", "P1", key=key): ("F", "60-69"),
        keyed_hash("patient", "H", "P2", key=key): ("M", None),
    }
    by_path = read_covariates(covariates(tmp_path / "p.csv", "path,wave\na/1.png,first\n"), key)
    assert (by_path.of_path, by_path.of_patient) == ({seal("a/1.png", key): ("first",)}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found nothing"),
        ("name,sex\nDoe,F\n", "wanted one column `patient`"),
        ("patient\nDoe\n", "at least one covariate"),
        ("patient,sex\nDoe,F\nDoe,M\n", "row 3: its `patient` stands in an earlier row"),
        ("patient,sex\n,F\n", "row 2: no `patient` is given"),
        ("patient,age\n" + "".join(f"Doe{n},{n}\n" for n in range(30)), "30 different values; at most 20.*bands"),
    ],
)
def test_wrong_covariates_are_told_without_naming_anyone(tmp_path, text, words):
    with pytest.raises(BadConfig, match=words) as error:
        read_covariates(covariates(tmp_path / "c.csv", text), b"k" * 32)
    assert "Doe" not in str(error.value)
    with pytest.raises(BadConfig, match="cannot be read"):
        read_covariates(tmp_path / "none.csv", b"k" * 32)


def test_files_of_one_patient_must_agree():
    images = to_table(
        [dict.fromkeys(IMAGES.names) | {
            "image_id": f"i{n}", "patient_id": "p", "path": f"{n}.png", "frame": 0, "accepted": False, "warnings": [],
        } for n in range(2)],
        IMAGES,
    )  # fmt: skip
    description = Description(("sex",), of_path={"0.png": ("F",), "1.png": ("M",)})
    with pytest.raises(BadTable, match=r"different covariates \(sex\)"):
        description.add(INFECTION.schema.empty_table(), images)


def test_the_summary_of_a_collected_cohort(tmp_path):
    images = tiny.write_images(tmp_path)
    file = covariates(tmp_path / "c.csv", "path,site\nct/a-healthy.png,north\nct/c-xray.png,south\nct/none.png,south\n")
    source = {"path": str(tmp_path / "files"), "covariates": str(file)}
    config = tiny.config(tmp_path, cohorts={"c": source}, summary={"min_cell": 1})
    out = tmp_path / "out"
    collect.run(config, "c", images, write_shards(tmp_path, images, 3), out)
    rows = read_table(out / "summary.parquet", SUMMARY).to_pylist()
    means = {
        (r["modality"], r["method"], r["unit"], r["covariate"], r["level"]): (r["value"], r["n"], r["patients"])
        for r in rows
        if r["measure"] == "infection_percent_mean"
    }
    # patient-0 has the slices of 0 and 20 %; a film cannot be quantified by khan2020
    assert means["ct", "alom2020", "patient", "all", "all"] == (10.0, 1, 1)
    assert means["ct", "alom2020", "image", "all", "all"] == (10.0, 2, 1)
    assert means["xr", "alom2020", "patient", "site", "south"] == (10.0, 1, 1)
    assert means["ct", "khan2020", "image", "site", "north"] == (10.0, 2, 1)  # both slices are the patient's
    assert not any(r["modality"] == "xr" and r["method"] == "khan2020" for r in rows)
    assert not any(r["severity_class"] for r in rows if r["unit"] == "image" or r["modality"] == "xr")
    record = read_json(out / "run.json")
    assert record["covariates"] == {"names": ["site"], "rows": 3, "matched": 2}
    assert set(record["threshold_bias"]) == {"ct", "xr"}
    first = (out / "summary.parquet").read_bytes()
    collect.run(config, "c", images, write_shards(tmp_path / "again", images, 1), out)
    assert (out / "summary.parquet").read_bytes() == first


def test_of_several_studies_the_first_is_taken():
    description = Description()
    table = to_table(
        [
            {
                "cohort": "c", "image_id": f"i{n}", "patient_id": "p", "modality": "ct", "method": "alom2020",
                "infection_percent": 1.0, "qc_status": "ok", "qc_reasons": [], "pipeline_version": "0",
                "schema_version": "0",
            }
            for n in range(3)
        ],
        INFECTION,
    )  # fmt: skip
    told = {"frame": 0, "accepted": True, "warnings": [], "patient_id": "p"}
    images = to_table([told | {"image_id": f"i{n}", "path": f"{n}"} for n in range(3)], IMAGES)
    description.add(table, images)
    common = {"patient_id": "p", "modality": "ct", "method": "alom2020"}
    for days in itertools.permutations([(None, 50.0), (9, 30.0), (2, 10.0)]):
        patients = [
            common | {"study_id": f"s{day}", "days_since_first_study": day, "infection_percent": percent,
                      "severity_class": "5-25"}
            for day, percent in days
        ]  # fmt: skip
        rows = [row for row in description.rows(patients, 1, 0) if row["unit"] == "patient"]
        assert next(r["value"] for r in rows if r["measure"] == "infection_percent_mean") == 10.0


def test_the_key_of_the_study_joins_them(tmp_path):
    found = read_covariates(covariates(tmp_path / "c.csv", "patient,sex\nP1,F\n"), id_key())
    assert keyed_hash("patient", "P1", key=id_key()) in found.of_patient
