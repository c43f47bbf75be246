"""Attacks, each stopped by one defense: without it, its test fails."""

from __future__ import annotations

import ast
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from covidpipe import cli, config
from covidpipe.config import Config, Limits, parse
from covidpipe.errors import BadConfig, CovidpipeError
from covidpipe.io.archive import unpack
from covidpipe.io.export import export, to_text
from covidpipe.io.files import write_json
from covidpipe.io.flat import FlatImages
from covidpipe.provenance import id_key
from tests.defenses import DEFENSES

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "covidpipe"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "workflow").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk")])


# --- Archives (paths outside, links and devices: test_archive.py) -------------------------------------------------


@pytest.mark.parametrize("names", [("a/1.dcm", "A/1.DCM"), ("ä.png", "a\N{COMBINING DIAERESIS}.png"), ("x", "x")])
def test_two_members_that_are_one_file_on_some_disk_are_refused(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed, pytest.warns(UserWarning) if names[0] == names[1] else _():
        for name in names:
            packed.writestr(name, name)
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as packed:
        for name in names:
            packed.addfile(tarfile.TarInfo(name), io.BytesIO())
    for archive in ("a.zip", "a.tgz"):
        with pytest.raises(BadConfig, match="two members have the same name"):
            unpack(tmp_path / archive, tmp_path / "out", Limits())
        assert not (tmp_path / "out").exists()


class _:
    """No expectation."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def test_an_archive_of_too_many_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for n in range(4):
            packed.writestr(str(n), "")
    with pytest.raises(BadConfig, match="more than 3 files"):
        unpack(tmp_path / "a.zip", tmp_path / "out", Limits(max_unpacked_files=3))


def test_what_an_archive_gives_is_for_its_owner_and_its_errors_name_no_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("Doe_John/1.dcm", b"x")
    unpack(tmp_path / "a.zip", tmp_path / "out", Limits())
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*")}
    assert modes == {0o700, 0o600}
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.writestr("../Doe_John", b"x")
    locked = bytearray((tmp_path / "a.zip").read_bytes())
    at = locked.index(b"PK\1\2")
    locked[6] |= 1  # encrypted, says the file's header, and the directory's
    locked[at + 8] |= 1
    (tmp_path / "c.zip").write_bytes(locked)
    for name, words in (("b.zip", "member number 1"), ("c.zip", "it is encrypted")):
        with pytest.raises(BadConfig, match=words) as refused:
            unpack(tmp_path / name, tmp_path / "other", Limits())
        assert "Doe" not in str(refused.value)


# --- Configs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "seed: !!python/object/apply:os.system ['touch {0}']",
        "seed: !!python/name:os.system",
        "!!python/object/new:subprocess.Popen [['touch', '{0}']]",
    ],
)
def test_a_config_runs_nothing(tmp_path, text):
    file = tmp_path / "study.yaml"
    file.write_text(text.replace("{0}", str(tmp_path / "ran")))
    with pytest.raises(BadConfig, match="not readable as YAML"):
        config.load(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["a\n", "a; touch x", "$(id)", "-rf", "../up", "a'b", "a b", ""])
def test_no_name_of_a_config_means_something_to_a_shell(name):
    for raw in (
        {"cohorts": {name: {"path": "x"}}},
        {"study": name},
        {"phantoms": {name: {}}},
        {"training": {name: dict.fromkeys(())}},
    ):
        with pytest.raises(BadConfig):
            parse(raw, "here")


# --- Nothing that is read is run ------------------------------------------------------------------------------------


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Every call, by the dotted name of what is called."""
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("source", [path for path in SOURCES if path.suffix == ".py"], ids=lambda p: p.stem)
def test_no_module_unpickles_evaluates_or_asks_a_shell(source):
    tree = ast.parse(source.read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert not imported & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for name, call in calls(tree):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
        assert name not in {"pickle.load", "pickle.loads", "pd.read_pickle", "np.fromfile", "torch.load"}, name
        assert given.get("shell") != "True" and ("shell" not in given or not name.startswith("subprocess"))
        assert given.get("allow_pickle", "False") == "False"
        if name == "np.load":
            assert given["allow_pickle"] == "False"
        if name.endswith("load_model"):
            assert given["safe_mode"] == "True"
        if name.startswith("subprocess.") and call.args:
            assert not isinstance(call.args[0], ast.Constant | ast.JoinedStr), "a list of words, not a line"


def test_weights_of_pytorch_are_read_where_pickle_cannot_load(tmp_path, monkeypatch):
    """By their instructions, as data; attacks on that: test_pretrained.py."""
    import pickle

    from covidpipe.io.torch_files import read_state_dict

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x02tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0K\x02\x85K\x01\x85tR"
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as packed:
        packed.writestr("a/data.pkl", b"\x80\x02}X\x01\0\0\0w" + tensor + b"s.")
        packed.writestr("a/data/0", np.float32([1, 2]).tobytes())
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.delattr(pickle, name)
    assert read_state_dict(tmp_path / "a.pth")["w"].tolist() == [1, 2]


@pytest.mark.parametrize("rules", [path for path in SOURCES if path.suffix == ".smk"], ids=lambda p: p.stem)
def test_what_a_rule_gives_a_shell_is_quoted_or_cannot_hold_more_than_a_name(rules):
    """Names of cohorts, recipes and models match NAME_PATTERN; `settings` are numbers; all else is quoted."""
    plain = r"wildcards\.\w+|params\.(cohort|recipe|settings|datasets|sources)|threads|resources\.\w+"
    text = rules.read_text()
    for command in re.findall(r"shell:\s*((?:\"[^\"\n]*\"\s*)+)", text):
        for inserted in re.findall(r"\{([^{}]+)\}", command):
            assert inserted.endswith(":q") or re.fullmatch(plain, inserted), f"{rules.name}: {{{inserted}}}"


# --- Weights --------------------------------------------------------------------------------------------------------


def model_folder(folder: Path, content: bytes, sha256: str) -> Path:
    folder.mkdir()
    (folder / "model.keras").write_bytes(content)
    write_json(folder / "run.json", {"weights_sha256": sha256, "recipe": {"model": "x"}})
    return folder


def test_weights_are_not_opened_before_their_checksum_is_right(tmp_path, monkeypatch):
    """Neither to predict nor to start a training from: an opened file would be told as no Keras archive."""
    from covidpipe.inference.engine import load_model_folder
    from covidpipe.training.transfer import start_from

    folder = model_folder(tmp_path / "m", b"not what was trained", "0" * 64)
    for use in (lambda: load_model_folder(folder), lambda: start_from(None, folder / "model.keras")):
        with pytest.raises(CovidpipeError, match=r"SHA-256 is .*run\.json beside it says 0000"):
            use()


def test_a_network_with_code_in_it_is_refused(tmp_path):
    import keras

    from covidpipe.inference.engine import load_model_folder
    from covidpipe.io.files import file_sha256

    inputs = keras.Input((2, 2, 1))
    network = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1, output_shape=(2, 2, 1))(inputs))
    network.save(tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    folder = model_folder(tmp_path / "m", content, file_sha256(tmp_path / "model.keras"))
    with pytest.raises(CovidpipeError, match="cannot be loaded safely"):
        load_model_folder(folder)


# --- Spreadsheets (every cell: test_tables.py) and reports (every table's words: test_report.py) ---------------------


@pytest.mark.parametrize("cell", ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_a_formula_is_written_as_text(cell):
    import pyarrow as pa

    assert to_text(pa.chunked_array([[cell]])).to_pylist() == [f"'{cell}"]
    assert export.__module__ == to_text.__module__  # what is exported goes through it


def test_a_name_that_is_markup_is_shown_as_text(tmp_path):
    """A patient called <script>, where a list or a data set tells it: on the page of a cohort."""
    from covidpipe.report import page

    shown = page.environment().from_string("{{ name }}").render(name="<script>alert(1)</script>")
    assert shown == "&lt;script&gt;alert(1)&lt;/script&gt;"
    templates = sorted((PACKAGE / "report" / "templates").glob("*.j2"))
    trusted = {name for file in templates for name in re.findall(r"\{\{([^}]*)\|\s*safe\b", file.read_text())}
    assert {name.strip() for name in trusted} <= {"style", "script"}  # files of the package, whose hash the page names


def test_every_defense_can_still_be_taken_out():
    """`make check-defenses` does it, and sees each one's test fail; here: its words are where they are said to be."""
    for one in DEFENSES:
        file, _, test = one.test.partition("::")
        assert (ROOT / one.file).read_text().count(one.words) == 1, one.attack
        assert f"def {test}(" in (ROOT / file).read_text(), one.attack


# --- Files that are not for everyone --------------------------------------------------------------------------------


def test_the_key_is_for_its_owner_only_and_a_key_that_others_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("COVIDPIPE_ID_KEY", str(tmp_path / "deep" / "id.key"))
    before = os.umask(0)
    try:
        key = id_key()
    finally:
        os.umask(before)
    file = tmp_path / "deep" / "id.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    for mode in (0o640, 0o604):
        file.chmod(mode)
        with pytest.raises(BadConfig, match="chmod 600") as refused:
            id_key()
        assert key.decode() not in str(refused.value)


def test_results_are_for_the_user_and_the_group_whatever_the_umask_was(tmp_path):
    script = (
        "import os, sys; os.umask(0); from covidpipe.cli import main; "
        "main(['phantoms', '--out', sys.argv[1], '--patients', '1', '--size', '64', '--slices', '2', '--seed', '1'])"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=True, capture_output=True)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*")]
    assert modes and not any(mode & 0o007 for mode in modes)
    assert "private_files()" in (ROOT / "workflow" / "rules" / "common.smk").read_text()  # logs, which a shell makes


def test_a_temporary_copy_of_images_has_no_name_to_be_opened_by(tmp_path):
    copy = FlatImages(tmp_path, (1, 2, 2))
    assert len(copy) == 1 and list(tmp_path.iterdir()) == []


def test_the_config_of_a_run_tells_no_folder(tmp_path):
    study = Config.model_validate({"cohorts": {"c": {"path": "/scans/Doe_John", "covariates": "/scans/Doe.csv"}}})
    text = config.dump(study)
    assert "Doe" not in text and parse(yaml.safe_load(text), "dumped") == study
    with pytest.raises(BadConfig, match="sealed with another key"):
        parse(yaml.safe_load(text.replace("sealed:", "sealed:AAAA")), "changed")
    assert cli.main(["show", "--config", str(tmp_path / "none.yaml")]) == 3
