"""Licences that may stand beside ours, and a check of vulnerabilities that never says "none" when it asked nobody."""

from __future__ import annotations

import http.server
import importlib.util
import json
import re
import subprocess
import threading
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


def test_licences_are_told_of_the_versions_that_are_pinned(supply):
    """The page is of what is installed: the lock, but for pip, which an environment has before it is read."""
    pinned = dict(re.findall(r"^([a-z0-9._-]+)==([^ \\]+)", supply.LOCK.read_text(), re.MULTILINE))
    rows = [line.strip("| ").split(" | ") for line in supply.PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    told = {name: version for name, version, *_ in rows}
    assert len(pinned) > 200 and set(pinned) <= set(told)
    assert {name for name in pinned if told[name] != pinned[name]} <= {"pip"}


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


class Osv(http.server.BaseHTTPRequestHandler):
    """Answers as api.osv.dev does; one package has something against it."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((asked["package"]["name"], asked["version"]))
        fault = {
            "id": "GHSA-aaaa-bbbb-cccc", "summary": "Bad", "details": "Bad.", "published": "2026-01-01T00:00:00Z",
            "affected": [{
                "package": {"name": "numpy", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}],
            }],
        }  # fmt: skip
        answer = json.dumps({"vulns": [fault]} if asked["package"]["name"] == "numpy" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        """Quiet."""


def test_a_database_is_asked_about_each_pinned_version(supply, tmp_path, monkeypatch, capsys):
    """By pip-audit itself, of a database on this machine; and where none answers, that is said."""
    lock = tmp_path / "few.lock"
    lock.write_text("".join(f"{name} --hash=sha256:{'0' * 64}\n" for name in ("numpy==2.1.0", "pydicom==3.0.1")))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Osv) as served:
        served.asked = []
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("OSV_URL", f"http://127.0.0.1:{served.server_port}/v1/query")
        assert supply.vulnerabilities(lock) == 1
        served.shutdown()
    assert sorted(served.asked) == [("numpy", "2.1.0"), ("pydicom", "3.0.1")]
    said = capsys.readouterr().out
    assert "numpy 2.1.0: GHSA-aaaa-bbbb-cccc; mended in 9.9" in said and "2 packages of few.lock: 1 known" in said
    assert supply.vulnerabilities(lock) == 2  # that server is gone
    assert "NOT CHECKED" in capsys.readouterr().out
