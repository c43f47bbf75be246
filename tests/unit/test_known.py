"""A second ingest opens only what changed, and says the same as one that opens everything."""

from __future__ import annotations

import json
import os
import shutil
from datetime import date
from pathlib import Path

import canaries
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dicom import dicom

from covidpipe import provenance
from covidpipe.config import parse
from covidpipe.io import known
from covidpipe.io.known import Known
from covidpipe.io.rows import read_rows
from covidpipe.sealed import unseal_bytes
from covidpipe.stages import ingest

KEY = bytes(range(32))
LONG_AGO = 1_600_000_000


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """What a folder may hold: pictures (two of one size), slices of two series, pages, and what is refused."""
    folder = tmp_path_factory.mktemp("files")
    for seed in (0, 1):
        picture = np.random.default_rng(seed).integers(0, 255, (70, 80), np.uint8)
        PIL.Image.fromarray(picture).save(folder / f"{seed}.bmp.tif", compression=None)
    pages = np.random.default_rng(2).integers(0, 255, (3, 70, 80), np.uint8)
    tifffile.imwrite(folder / "pages.tif", pages, photometric="minisblack")
    for place, day, series in ((1.5, "20200301", "1.2.3"), (4.0, "20200305", "1.2.3"), (9.0, "20200301", "1.2.4")):
        told = {"StudyDate": day, "SeriesInstanceUID": series, "ImagePositionPatient": [0, 0, place]}
        dicom(folder / f"{place}.dcm", StudyInstanceUID=f"2.{day}", PatientID="P", **told)
    (folder / "notes").write_text("not an image")
    (folder / "empty").touch()
    return sorted(folder.iterdir())


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The files that are read, here rather than in processes of their own."""
    names: list[str] = []

    def in_turn(tasks):
        for task in tasks:
            names.append(task.record.path)
            yield read_rows(task)

    monkeypatch.setattr(ingest, "read_in_parallel", in_turn)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # dozens of tables, and nobody will cut the power
    for module in (ingest, provenance):
        monkeypatch.setattr(module, "code_fingerprint", lambda *_: "one code")
    return names


def put(content: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(content, path)
    os.utime(path, (LONG_AGO, LONG_AGO))  # all alike, as after a copy that keeps whole seconds


def ingested(root: Path, out: Path, **source) -> tuple[bytes, bytes]:
    config = parse({"cohorts": {"c": {"path": str(root), "modality": "ct", **source}}}, "here")
    ingest.run(config, "c", out / "images.parquet")
    return (out / "images.parquet").read_bytes(), (out / "signatures.parquet").read_bytes()


PLACES = ["a/1", "a/2", "b/1", "b/2", "c"]
CHANGES = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(PLACES), st.integers(0, 7)),
    st.tuples(st.just("rename"), st.sampled_from(PLACES), st.sampled_from(PLACES)),
    st.tuples(st.just("swap"), st.just("a"), st.just("b")),
    st.tuples(st.just("remove"), st.sampled_from(PLACES), st.none()),
)


def change(root: Path, files: list[Path], what: str, where: str, to) -> None:
    if what == "put":
        put(files[to], root / where)
    elif what == "rename" and (root / where).exists():
        (root / to).parent.mkdir(exist_ok=True)
        (root / where).replace(root / to)
    elif what == "swap" and (root / where).exists() and (root / to).exists():
        (root / where).rename(root / "aside")
        (root / to).rename(root / where)
        (root / "aside").rename(root / to)
    elif what == "remove":
        (root / where).unlink(missing_ok=True)


@given(rounds=st.lists(st.lists(CHANGES, min_size=1, max_size=4), min_size=1, max_size=3))
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_changes_the_table_is_that_of_a_first_ingest(rounds, files, opened, tmp_path_factory):
    folder = tmp_path_factory.mktemp("changes")
    root = folder / "in"
    for number, place in enumerate(PLACES):
        put(files[number], root / place)
    ingested(root, folder / "out")
    for number, changes in enumerate(rounds):
        for one in changes:
            change(root, files, *one)
        assert ingested(root, folder / "out") == ingested(root, folder / f"fresh{number}")


def test_only_what_came_or_changed_is_opened(files, opened, tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    for file in files:
        put(file, root / "many" / file.name)
    ingested(root, out)
    assert len(opened) == len(files)
    opened.clear()
    first = ingested(root, out)
    assert opened == ["many/empty"]  # what could not be read is tried each time
    put(files[0], root / "new")
    put(files[1], root / "many" / files[0].name)  # of the same size, and the same time
    (root / "many" / "notes").unlink()
    opened.clear()
    assert ingested(root, out) != first
    assert sorted(opened) == [f"many/{files[0].name}", "many/empty", "new"]
    assert json.loads((out / "run.json").read_text())["files"] == {"seen": len(files), "read": 3}


@pytest.mark.parametrize("other", [{"modality": "xr"}, {"intensity": "windowed_8bit"}, {"modality": None}])
def test_what_was_read_otherwise_is_read_again(other, files, opened, tmp_path):
    put(files[0], tmp_path / "in" / "1")
    ingested(tmp_path / "in", tmp_path / "out")
    opened.clear()
    ingested(tmp_path / "in", tmp_path / "out", **other)
    assert opened == ["1"]


def test_other_code_or_limits_read_everything_again(files, opened, tmp_path, monkeypatch):
    put(files[0], tmp_path / "in" / "1")
    for fingerprint in "ab":
        monkeypatch.setattr(ingest, "code_fingerprint", lambda *_, now=fingerprint: now)
        opened.clear()
        ingested(tmp_path / "in", tmp_path / "out")
        assert opened == ["1"]


def test_a_file_that_has_just_changed_is_not_relied_on(files, opened, tmp_path):
    put(files[0], tmp_path / "in" / "1")
    os.utime(tmp_path / "in" / "1")
    for _ in range(2):
        opened.clear()
        ingested(tmp_path / "in", tmp_path / "out")
        assert opened == ["1"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"rubbish",
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
        lambda content: bytes(byte ^ 255 for byte in content[:8]) + content[8:],
    ],
)
def test_a_damaged_file_costs_no_more_than_reading(damage, files, opened, tmp_path, caplog):
    put(files[0], tmp_path / "in" / "1")
    first = ingested(tmp_path / "in", tmp_path / "out")
    kept = tmp_path / "out" / "known.sealed"
    kept.write_bytes(damage(kept.read_bytes()))
    opened.clear()
    assert ingested(tmp_path / "in", tmp_path / "out") == first
    assert opened == ["1"] and "damaged or sealed with another key" in caplog.text
    opened.clear()
    assert ingested(tmp_path / "in", tmp_path / "out") == first
    assert opened == []


def test_with_another_key_everything_is_read_again(files, opened, tmp_path, monkeypatch):
    put(files[3], tmp_path / "in" / "1")
    monkeypatch.setenv("COVIDPIPE_ID_KEY", str(tmp_path / "one.key"))
    first = ingested(tmp_path / "in", tmp_path / "out")
    monkeypatch.setenv("COVIDPIPE_ID_KEY", str(tmp_path / "another.key"))
    opened.clear()
    assert ingested(tmp_path / "in", tmp_path / "out") != first
    assert opened == ["1"]


def test_nothing_of_a_header_or_a_path_lies_open(opened, tmp_path):
    """The file holds plain identifiers, as its key shows, and no search finds them."""
    marks = canaries.Markers()
    image = np.random.default_rng(0).integers(0, 255, (96, 96), np.uint8)
    path = tmp_path / "in" / marks.word() / f"{marks.word()}.dcm"
    path.parent.mkdir(parents=True)
    canaries.dicom(path, image, marks)
    os.utime(path, (LONG_AGO, LONG_AGO))
    ingested(tmp_path / "in", tmp_path / "out", intensity="windowed_8bit")
    kept = tmp_path / "out" / "known.sealed"
    (_, lines), *_ = Known(kept, ingest.id_key())._pieces()
    assert canaries.WORD.encode() in lines[0] and path.name.encode() in lines[0]
    assert date(1931, 2, 7).isoformat().encode() in lines[0]
    assert canaries.leaks(tmp_path / "out") == []


def test_a_run_that_was_killed_goes_on_from_what_it_had_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "LINES", 2)
    first = Known(tmp_path / "k", KEY)
    for n in range(5):
        first.keep(f"{n:032d}", [n])  # and is killed: the fifth was not on the disk
    wanted = {f"{n:032d}": n for n in range(5)}
    assert list(Known(tmp_path / "k", KEY).recall(wanted)) == [(n, [n]) for n in range(4)]
    assert list(wanted.values()) == [4]


def test_what_is_no_longer_wanted_is_forgotten(tmp_path):
    kept = Known(tmp_path / "k", KEY)
    for n in range(4):
        kept.keep(str(n), "x" * 1000 * n)
    kept.flush()
    whole = (tmp_path / "k").stat().st_size
    assert [n for n, _ in Known(tmp_path / "k", KEY).recall({"1": 1, "3": 3})] == [1, 3]
    assert 0 < (tmp_path / "k").stat().st_size < whole
    assert [n for n, _ in Known(tmp_path / "k", KEY).recall({"1": 1, "2": 2})] == [1]
    assert list(Known(tmp_path / "k", KEY).recall({})) == []
    assert (tmp_path / "k").stat().st_size == 0


def test_a_full_disk_ends_nothing(tmp_path, caplog):
    kept = Known(tmp_path / "gone" / "k", KEY)
    kept.keep("1", 1)
    kept.flush()
    assert "is not kept for the next run" in caplog.text


def test_sealed_bytes_open_only_as_what_they_were_sealed_as():
    from covidpipe.sealed import seal_bytes

    sealed = seal_bytes(b"Doe", KEY, b"one thing")
    assert b"Doe" not in sealed and unseal_bytes(sealed, KEY, b"one thing") == b"Doe"
    assert unseal_bytes(sealed, KEY, b"another") is unseal_bytes(sealed, KEY[::-1], b"one thing") is None
    assert unseal_bytes(sealed[:5], KEY, b"one thing") is None
