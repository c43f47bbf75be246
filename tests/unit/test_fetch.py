"""Public data sets: declarations, and downloads from a server that breaks off, corrupts, is busy and changes."""

from __future__ import annotations

import hashlib
import http.server
import json
import logging
import threading
from pathlib import Path

import pytest

from covidpipe.cli import main
from covidpipe.config import Config, parse
from covidpipe.datasets.public import DECLARATIONS, PublicSet, RemoteFile, declared, missing, overview
from covidpipe.errors import BadConfig, BadDownload
from covidpipe.io.fetch import RECORD, fetch
from covidpipe.registry import DATASETS

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
HTTP = {"schemes": ("http",), "wait": 0.0}  # the tests' own server has no certificate


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        faults, asked = self.server.faults, self.headers.get("Range")
        fault = faults.pop(0) if faults else None
        self.server.ranges.append(asked)
        if isinstance(fault, int):
            self.send_error(fault)
            return
        if fault == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/file")
            self.end_headers()
            return
        content = self.server.content
        begin = 0
        if asked and self.headers.get("If-Range", self.server.version) == self.server.version:
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
            if begin >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("ETag", self.server.version)
        self.end_headers()
        sent = content[begin:]
        if fault == "corrupt":
            sent = sent[:-1] + bytes([sent[-1] ^ 1])
        self.wfile.write(sent[: len(sent) // 2] if fault == "break off" else sent)

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture
def server():
    """A server on the loopback with a list of faults to act out, one for each request."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.faults, served.ranges, served.content, served.version = [], [], CONTENT, '"one"'
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield served
        served.shutdown()


def declare(server, checksum=None, largest_gib=1.0) -> PublicSet:
    """A set with one file on that server; `model_construct` lets its http pass, which a declaration may not have."""
    url = f"http://127.0.0.1:{server.server_port}/a.zip"
    file = RemoteFile.model_construct(file="a.zip", url=url, checksum=checksum, largest_gib=largest_gib)
    return PublicSet.model_construct(text="a set", files=[file])


def test_a_first_download_is_recorded_and_recognized(server, tmp_path):
    line = fetch("a", declare(server), tmp_path, **HTTP)[0]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert SHA256 in line
    assert "(recorded)" in line
    entry = json.loads((tmp_path / RECORD).read_text())["a.zip"]
    assert entry["sha256"] == SHA256
    assert entry["bytes"] == len(CONTENT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", RECORD]
    assert "there already" in fetch("a", declare(server), tmp_path, **HTTP)[0]
    assert len(server.ranges) == 1


def test_a_download_that_breaks_off_goes_on_where_it_was(server, tmp_path, caplog):
    server.faults = ["break off", "break off", 503]
    with caplog.at_level(logging.INFO):
        fetch("a", declare(server, f"sha256:{SHA256}"), tmp_path, **HTTP)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=51200-", "bytes=76800-", "bytes=76800-"]
    assert "it broke off after 51,200 of 102,400 bytes" in caplog.text


def test_another_run_goes_on_too(server, tmp_path):
    server.faults = ["break off", "break off"]
    with pytest.raises(BadDownload, match=r"broke off after 76,800 of 102,400 bytes\. Run the same command again"):
        fetch("a", declare(server), tmp_path, attempts=2, **HTTP)
    assert not (tmp_path / "a.zip").exists()
    fetch("a", declare(server), tmp_path, **HTTP)
    assert server.ranges[-1] == "bytes=76800-"
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_file_that_was_published_anew_in_between_is_not_stitched_together(server, tmp_path):
    server.faults = ["break off", "break off"]
    with pytest.raises(BadDownload):
        fetch("a", declare(server), tmp_path, attempts=2, **HTTP)
    assert len(list(tmp_path.iterdir())) == 2  # the beginning, and which version it is of
    server.content, server.version = CONTENT[::-1], '"two"'
    fetch("a", declare(server), tmp_path, **HTTP)
    assert server.ranges[-1] is not None  # the rest was asked for, and all of the new one came
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[::-1]


def test_a_whole_file_that_only_lacks_its_name_is_not_downloaded_again(server, tmp_path):
    (tmp_path / "a.zip.partial").write_bytes(CONTENT)
    (tmp_path / "a.zip.partial.tag").write_text('"one"')
    fetch("a", declare(server, f"md5:{MD5}"), tmp_path, **HTTP)
    assert server.ranges == ["bytes=102400-"]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_corrupted_download_is_refused_and_nothing_is_kept(server, tmp_path):
    server.faults = ["corrupt"]
    with pytest.raises(BadDownload, match=rf"its sha256 is [0-9a-f]{{64}}, not {SHA256}.*Nothing was kept"):
        fetch("a", declare(server, f"sha256:{SHA256}"), tmp_path, **HTTP)
    assert list(tmp_path.iterdir()) == []


def test_what_differs_from_the_recorded_one_is_refused(server, tmp_path):
    fetch("a", declare(server), tmp_path, **HTTP)
    (tmp_path / "a.zip").write_bytes(CONTENT + b"!")
    with pytest.raises(BadDownload, match=r"a\.zip: its sha256 is .* Delete it to have it downloaded again"):
        fetch("a", declare(server), tmp_path, **HTTP)
    (tmp_path / "a.zip").unlink()
    server.faults = ["corrupt"]
    with pytest.raises(BadDownload, match="published anew"):
        fetch("a", declare(server), tmp_path, **HTTP)


@pytest.mark.parametrize(
    ("faults", "options", "message"),
    [
        ([404], {}, "the server answers 404 Not Found"),
        (["elsewhere"], {}, "it would come by `ftp`, and only http is trusted"),
        ([], {"schemes": ("https",)}, "it would come by `http`, and only https is trusted"),
        ([503] * 3, {"attempts": 3}, "the server answers 503"),
    ],
)
def test_what_cannot_be_had_is_told(server, faults, options, message, tmp_path):
    server.faults = list(faults)
    with pytest.raises(BadDownload, match=message):
        fetch("a", declare(server), tmp_path, **{**HTTP, **options})
    assert len(server.ranges) == len(faults)
    assert not (tmp_path / "a.zip").exists()


def test_only_https_is_asked_by_default(server, tmp_path):
    with pytest.raises(BadDownload, match="only https is trusted"):
        fetch("a", declare(server), tmp_path)
    assert server.ranges == []


def test_a_file_that_is_too_large_is_given_up(server, tmp_path):
    with pytest.raises(BadDownload, match="it is larger than 1,024 bytes"):
        fetch("a", declare(server, largest_gib=2**-20), tmp_path, **HTTP)
    assert not (tmp_path / "a.zip").exists()


# --- Declarations -------------------------------------------------------------------------------------------------


def test_every_dataset_of_the_papers_is_declared_and_nothing_is_left_open():
    sets = declared()
    assert {name for name in DATASETS if not name.startswith("phantom")} <= set(sets)
    assert {paper for entry in sets.values() for paper in entry.papers} == {"alom2020", "khan2020"}
    for name, entry in sets.items():
        assert entry.licence and entry.layout and entry.labels and entry.patients, name
        if name in DATASETS and entry.doi:
            assert entry.doi in DATASETS[name].text or name == "kermany"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("licence: free", "`kaggel`: Extra inputs"),
        ("files: [{file: a.zip, url: 'http://a.b/c', largest_gib: 1}]", "`files.0.url`: String should match"),
        ("files: [{file: ../a.zip, url: 'https://a.b/c', largest_gib: 1}]", "`files.0.file`: String should match"),
    ],
)
def test_a_wrong_declaration_is_named(change, message, tmp_path):
    entry = "a:\n  text: t\n  papers: [x]\n  used_for: [y]\n  size: 1\n  layout: l\n  labels: l\n  patients: p\n"
    entry += "  doi: 10.1/2\n" + ("  licence: l\n" if "licence" not in change else "  kaggel: a/b\n") + f"  {change}\n"
    (tmp_path / "datasets.yaml").write_text(entry)
    with pytest.raises(BadConfig, match=message):
        declared(tmp_path / "datasets.yaml")


def test_missing_declarations_are_told(tmp_path):
    with pytest.raises(BadConfig, match="come with a clone of the repository"):
        declared(tmp_path / "none.yaml")


def test_local_copies_are_found_below_covidpipe_data(tmp_path, monkeypatch, capsys):
    (tmp_path / "kermany").mkdir()
    monkeypatch.setenv("COVIDPIPE_DATA", str(tmp_path))
    rows = {row["name"]: row for row in overview(Config(), declared())}
    assert rows["kermany"]["present"]
    assert rows["kermany"]["folder"] == str(tmp_path / "kermany")
    assert not rows["medseg829"]["present"]
    assert rows["kmader-ct-lungs"]["folder"] is None
    assert main(["datasets", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == set(rows)
    assert main(["datasets"]) == 0
    said = capsys.readouterr().out
    assert "(found)" in said
    assert "Kaggle: kmader/finding-lungs-in-ct-data" in said


def test_what_a_study_lacks_is_told_with_origin_and_licence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COVIDPIPE_DATA", str(tmp_path))
    config = Path(__file__).parents[2] / "config" / "real_ct.yaml"
    assert main(["datasets", "--missing", "--config", str(config)]) == 3
    said = capsys.readouterr().err
    assert "doi.org/10.6084/m9.figshare.13521509" in said
    assert "CC BY-NC-SA" in said
    made_here = parse(
        {
            "phantoms": {"p": {}},
            "datasets": {"phantom-ct": "results/phantoms/p/ct"},
            "cohorts": {"c": {"dataset": "phantom-ct"}},
        },
        "here",
    )
    assert missing(made_here, declared()) == []


def test_a_set_behind_an_account_says_the_steps(tmp_path, capsys):
    assert main(["fetch", "kmader-ct-lungs", "--out", str(tmp_path / "none")]) == 0
    said = capsys.readouterr().out
    assert "1. Sign in to Kaggle" in said
    assert main(["fetch", "kermani"]) == 2
    assert "Did you mean `kermany`?" in capsys.readouterr().err
    assert DECLARATIONS.exists()
