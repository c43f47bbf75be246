"""`covidpipe init` and `covidpipe doctor`: before the first run."""

from __future__ import annotations

import json
import shlex

import pytest

from covidpipe import cli, config
from covidpipe.cluster.preflight import Finding
from covidpipe.errors import CovidpipeError, UsageError
from covidpipe.inference import openvino
from covidpipe.registry import SHIPPED
from covidpipe.study import doctor, init


@pytest.fixture()
def scans(tmp_path, monkeypatch):
    """A folder of images whose name wants quoting, and a working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "Ward 3: scans #1"
    folder.mkdir()
    return folder


def test_flags_alone_write_a_config_that_is_one(scans, capsys):
    argv = ["init", "winter", "--images", str(scans), "--modality", "xr", "--machine", "slurm"]
    assert cli.main(argv) == 0
    written = config.load("winter.yaml")
    cohort = written.cohorts["winter"]
    assert (cohort.path, cohort.modality, cohort.methods) == (str(scans), "xr", ["alom2020"])
    assert (written.study, written.results) == ("winter", "results/winter")
    told = capsys.readouterr().out
    assert f"covidpipe check {shlex.quote(str(scans))}" in told
    assert "--profile slurm --configfile winter.yaml preflight" in told


def test_every_key_that_is_only_a_comment_is_a_key(scans):
    file = init.run("winter", images=scans)
    lines = file.read_text().splitlines()
    body = lines[lines.index("") :]
    there = [line.replace("# ", "", 1) if line.lstrip().startswith("# ") and ": " in line else line for line in body]
    there = [line for line in there if not line.startswith(("Often", "Networks"))]
    (cohort,) = config.parse(init.yaml.safe_load("\n".join(there)), "x").cohorts.values()
    assert (cohort.modality, cohort.intensity, cohort.covariates) == ("ct", "windowed_8bit", "winter.csv")
    assert all("  # " in line for line in body if line.strip().startswith(("modality", "methods", "# segment")))


def test_on_a_terminal_it_asks_for_what_is_not_said(scans):
    (scans.parent / "config").mkdir()
    answers = {"Where": str(scans), "Are they": "ct", "Which methods": "khan2020", "Which machine": ""}
    asked = []

    def ask(question, default):
        asked.append(question)
        return next(said for begin, said in answers.items() if question.startswith(begin)) or default

    file = init.run("winter", ask=ask)
    assert str(file) == "config/winter.yaml" and len(asked) == 4
    assert config.load(file).cohorts["winter"].methods == ["khan2020"]
    asked.clear()
    init.run("other", images=scans, modality="ct", methods=["khan2020"], machine="local", ask=ask)
    assert not asked


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"study": "a b"}, UsageError, "cannot be called `a b`"),
        ({"images": None}, UsageError, "Give --images FOLDER"),
        ({"images": "gone"}, CovidpipeError, "there is no such file or folder"),
        ({"modality": "xr", "methods": ["khan2020"]}, UsageError, "khan2020: not defined for xr. What fits: alom2020"),
        ({"methods": ["khan"]}, UsageError, "Did you mean `khan2020`?"),
        ({"study": "old"}, CovidpipeError, "Give --force"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(scans, changes, error, told):
    (scans.parent / "old.yaml").write_text("mine")
    given = {"study": "winter", "images": scans} | changes
    given["images"] = given["images"] and scans.parent / given["images"]
    with pytest.raises(error, match=told.replace("?", r"\?").replace(".", r"\.")):
        init.run(given.pop("study"), **given)
    assert [file.name for file in scans.parent.glob("*.yaml")] == ["old.yaml"]
    assert (scans.parent / "old.yaml").read_text() == "mine"


@pytest.fixture()
def without_tensorflow(monkeypatch):
    monkeypatch.setattr(doctor, "gpu", lambda: Finding("ok", "GPU", "none"))


def test_the_doctor_tells_programs_and_people(without_tensorflow, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COVIDPIPE_ID_KEY", str(tmp_path / "id.key"))
    assert cli.main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = {finding["what"]: finding for finding in told["findings"]}
    assert told["ready"] and len(found) == 11
    assert found["networks"]["told"].startswith(", ".join(SHIPPED))
    assert "JPEG 2000" in found["DICOM decoders"]["told"] and not (tmp_path / "id.key").exists()
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("covidpipe can work here.\n")


def test_the_doctor_tells_which_engines_there_are(monkeypatch):
    monkeypatch.setattr(openvino, "bfloat16_instructions", lambda: ["amx_bf16"])
    assert doctor.engines().told.endswith("keras, openvino, openvino_bf16 (amx_bf16)")
    monkeypatch.setattr(openvino, "bfloat16_instructions", list)
    assert doctor.engines().told.endswith("not openvino_bf16, for want of instructions")
    monkeypatch.setattr(openvino, "installed", lambda: False)
    assert doctor.engines().status == "warning" and "make env" in doctor.engines().told


def test_what_is_wrong_is_named_with_its_remedy_and_the_status_is_3(without_tensorflow, tmp_path, monkeypatch, capsys):
    key = tmp_path / "id.key"
    key.write_text("k" * 64)
    key.chmod(0o644)
    monkeypatch.setenv("COVIDPIPE_ID_KEY", str(key))
    monkeypatch.setattr(doctor, "SHIPPED", {**SHIPPED, "ct_gone": ("classify", "ct")})
    assert cli.main(["doctor"]) == cli.BAD_INPUT
    told = capsys.readouterr()
    assert "WRONG    key for identifiers: " in told.out and f"chmod 600 {key}" in told.out
    assert "WRONG    networks: ct_gone: missing or damaged" in told.out
    assert "not ready: networks, key for identifiers." in told.err


def test_little_memory_and_a_missing_decoder_are_warnings(monkeypatch):
    assert doctor.memory(64.0, None) == Finding("ok", "memory", "64.0 GiB")
    assert doctor.memory(2.0, None).status == "warning"
    monkeypatch.setattr(doctor, "COMPRESSED", {"1.2.840.10008.1.2.4.101": "MPEG-2"})
    monkeypatch.setattr("pydicom.pixels.get_decoder", lambda uid: type("None", (), {"is_available": False}))
    assert doctor.decoders().status == "warning" and "MPEG-2" in doctor.decoders().told
