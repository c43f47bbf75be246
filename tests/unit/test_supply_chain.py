"""Licences that may stand beside ours, and a check of vulnerabilities that never says "none" when it asked nobody."""

from __future__ import annotations

import importlib.util
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def supply():
    spec = importlib.util.spec_from_file_location("supply_chain", ROOT / "workflow" / "scripts" / "supply_chain.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_licence_is_told_and_stands_beside_ours(supply):
    rows = [line.strip("| ").split(" | ") for line in supply.PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert {row[-1] for row in rows} <= {"compatible", "compatible (own files)"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    assert {canonicalize_name(Requirement(line).name) for line in direct} <= {row[0] for row in rows}


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("MIT", "compatible"),
        ("Apache-2.0 AND BSD-3-Clause", "compatible"),
        ("GPL-2.0-only OR MIT", "compatible"),
        ("MPL-2.0", "compatible (own files)"),
        ("GPL-3.0-only", "look"),
        ("MIT AND GPL-3.0-only", "look"),
        ("unknown", "look"),
    ],
)
def test_verdicts(supply, words, verdict):
    assert supply.verdict(words) == verdict


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("", 2, "NOT CHECKED"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "0 known vulnerabilities"),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}',
            1,
            "a 1: CVE-1; mended in 2",
        ),
    ],
)
def test_no_answer_is_not_a_good_one(supply, monkeypatch, capsys, answer, code, words):
    ended = subprocess.CompletedProcess([], 1, stdout=answer, stderr="ConnectionError: no network")
    monkeypatch.setattr(supply.subprocess, "run", lambda *_, **__: ended)
    assert supply.vulnerabilities() == code
    assert words in capsys.readouterr().out
