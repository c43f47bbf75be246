"""Fingerprints move with the code and the tables that matter, and with nothing else; identifiers are keyed."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess

import pytest

from covidpipe import provenance
from covidpipe.errors import BadConfig
from covidpipe.provenance import STAGE_TABLES, code_fingerprint, id_key, keyed_hash


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's sources that may be edited."""
    copy = tmp_path / "covidpipe"
    shutil.copytree(provenance.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    monkeypatch.setattr(provenance, "PACKAGE", copy)
    return copy


def fingerprints():
    provenance._imports.cache_clear()
    return {stage: code_fingerprint(stage) for stage in STAGE_TABLES}


@pytest.fixture(autouse=True)
def fresh_cache():
    yield
    provenance._imports.cache_clear()


def changed(package, file):
    before = fingerprints()
    path = package / file
    path.write_text(path.read_text() + "\n# edited\n")
    after = fingerprints()
    return {stage for stage in before if before[stage] != after[stage]}


@pytest.mark.parametrize("stage", [*STAGE_TABLES])
def test_editing_a_stage_moves_that_stage_and_no_other(package, stage):
    assert changed(package, f"stages/{stage}.py") == {stage}


def test_editing_what_stages_share_moves_those_that_import_it(package):
    moved = changed(package, "wavelet.py")
    assert "wavelet" in moved and "predict" in moved
    assert not moved & {"ingest", "split", "quantify", "collect"}


@pytest.mark.parametrize("file", ["cli.py", "config.py", "errors.py", "paths.py", "workflow.py"])
def test_editing_the_plumbing_moves_nothing(package, file):
    assert changed(package, file) == set()


def test_a_module_found_by_name_counts(package):
    before = code_fingerprint("train", "covidpipe.models.nabla3")
    path = package / "models" / "nabla3.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert code_fingerprint("train", "covidpipe.models.nabla3") != before


def test_the_key_is_made_once_for_its_owner_only(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "id.key"
    monkeypatch.setenv("COVIDPIPE_ID_KEY", str(path))
    key = id_key()
    assert id_key() == key and len(key) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    with pytest.raises(BadConfig, match="shorter than 16 bytes"):
        id_key()


def test_a_hash_depends_on_kind_parts_and_key():
    hashes = {
        keyed_hash("patient", "a", "b", key=b"k" * 16),
        keyed_hash("patient", "ab", key=b"k" * 16),
        keyed_hash("study", "a", "b", key=b"k" * 16),
        keyed_hash("patient", "a", "b", key=b"l" * 16),
    }
    assert len(hashes) == 4 and all(len(value) == 16 for value in hashes)


def repository(folder):
    def git(*words):
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)

    (folder / "covidpipe").mkdir(parents=True)
    (folder / "covidpipe" / "one.py").write_text("x = 1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return git


def test_the_commit_is_told_and_whether_the_code_is_that_of_it(tmp_path, monkeypatch):
    git = repository(tmp_path / "clone")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "clone" / "covidpipe")
    asked = provenance.commit.__wrapped__
    head = asked()
    assert re.fullmatch(r"[0-9a-f]{40}", head)
    (tmp_path / "clone" / "notes.txt").write_text("no code")
    assert asked() == head
    (tmp_path / "clone" / "covidpipe" / "one.py").write_text("x = 2\n")
    assert asked() == f"{head}+"
    git("commit", "-qam", "second")
    assert asked() not in (head, f"{head}+")


def test_a_package_inside_another_project_or_without_git_has_no_commit(tmp_path, monkeypatch):
    repository(tmp_path / "clone")
    inside = tmp_path / "clone" / "venv" / "covidpipe"
    inside.mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", inside)
    assert provenance.commit.__wrapped__() is None
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "covidpipe")
    assert provenance.commit.__wrapped__() is None
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "clone" / "covidpipe")
    assert provenance.commit.__wrapped__() is None
