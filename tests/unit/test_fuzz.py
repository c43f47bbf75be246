"""Damaged files of every kind, a few of each: what `make fuzz` does at length, with Hypothesis choosing."""

from __future__ import annotations

import gzip
import json
import os
import struct
import time
import zipfile
import zlib
from pathlib import Path
from random import Random

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covidpipe import workflow
from covidpipe.config import Limits, load
from covidpipe.errors import BadConfig
from covidpipe.io.rows import Task, read_rows, rows_of
from covidpipe.io.sources import walk
from covidpipe.records import ImageRecord
from covidpipe.stages import ingest
from tests.fuzz import __main__ as at_length
from tests.fuzz import makers, reading

# Hypothesis hands the makers its own source of chance, and so can shrink what fails.
choices = st.randoms(use_true_random=False, note_method_calls=False)
FEW = settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", makers.OTHERS)
def test_what_is_no_image_is_read_or_refused_in_words(kind, tmp_path_factory):
    @FEW
    @given(choices)
    def read(random: Random):
        ending, content = makers.OTHERS[kind](random)
        path = tmp_path_factory.mktemp("fuzz") / f"file{ending}"
        path.write_bytes(content)
        reading.outcome(kind, path)

    read()


def test_what_is_not_damaged_is_read(tmp_path):
    (tmp_path / "a.parquet").write_bytes(makers.split_table())
    with zipfile.ZipFile(tmp_path / "a.store", "w") as packed:
        for name, content in makers.store_files():
            packed.writestr(name, content)
    assert reading.outcome("table", tmp_path / "a.parquet") == reading.outcome("store", tmp_path / "a.store") == "ok"


@pytest.mark.parametrize("kind", makers.IMAGES)
def test_an_image_of_any_bytes_is_rows(kind, tmp_path):
    """In this process, for Hypothesis to shrink; nothing here reaches a bound."""
    path = tmp_path / "file"

    @FEW
    @given(choices)
    def read(random: Random):
        _, content = makers.IMAGES[kind](random)
        path.write_bytes(content)
        rows = read_rows(Task(tmp_path, ImageRecord("file", frame=None), None, None, reading.LIMITS))
        assert rows
        for row in rows:
            assert row["accepted"] or (row["sentence"] and not row["sentence"].startswith(reading.FORESEEN)), row

    read()


def test_a_folder_of_all_kinds_is_counted_without_a_crash_a_hang_or_a_fault(tmp_path):
    count = reading.Count()
    for number in range(50):
        kind = list(makers.IMAGES)[number % len(makers.IMAGES)]
        ending, content = reading.make(kind, 1, number)
        (tmp_path / f"{kind}-{number}{ending}").write_bytes(content)
        count.files[kind] += 1
    rows = reading.read_images(tmp_path, count)
    assert count.clean and not count.unforeseen and count.rows == len(rows) >= 50
    assert {row["path"] for row in rows} == set(walk(tmp_path))


def test_a_long_run_in_parts_counts_what_one_run_counts(tmp_path, monkeypatch, capsys):
    """By its record: as one work session is shorter than the run."""
    monkeypatch.setattr(at_length, "BATCH", 7)
    monkeypatch.setenv("COVIDPIPE_ID_KEY", str(tmp_path / "id.key"))  # the command sets one of its own: put back after

    def run(record: Path, *more: str) -> dict:
        monkeypatch.setattr(
            "sys.argv", ["fuzz", "--kinds", "list", "--keep", str(tmp_path), "--record", str(record), *more]
        )
        assert at_length.main() == 0
        return json.loads(record.read_text())

    whole = run(tmp_path / "whole.json", "--count", "30")
    parts = run(tmp_path / "parts.json", "--count", "10")
    assert parts["count"]["files"] == {"list": 10}
    parts = run(tmp_path / "parts.json", "--count", "30", "--resume", "--seconds", "0")
    assert parts["count"]["files"] == {"list": 10} and "--resume goes on" in capsys.readouterr().out
    parts = run(tmp_path / "parts.json", "--count", "30", "--resume")
    for measured in ("seconds", "peak_bytes"):
        assert parts["count"].pop(measured) > 0 and whole["count"].pop(measured) > 0
    assert parts == whole and whole["count"]["answered"] == 30
    assert parts["files_by_code"].popitem()[1] == 30
    with pytest.raises(SystemExit, match="of other files"):
        run(tmp_path / "parts.json", "--resume", "--seed", "2")


# --- Bounds ---------------------------------------------------------------------------------------------------------


def told_of(folder: Path, **limits: float) -> dict[str, tuple[str | None, str]]:
    """Reason and sentence of each file of a folder."""
    given = reading.LIMITS.model_copy(update=limits)
    return {row["path"]: (row["reason"], row["sentence"] or "") for row in _ingest(folder, given)}


def _ingest(folder: Path, limits: Limits) -> list[dict]:
    records = [ImageRecord(path, frame=None) for path in walk(folder)]
    return ingest.ingest(folder, records, ingest.Source.model_validate({"path": str(folder)}), limits)


def test_headers_that_promise_too_much_are_refused_before_anything_is_read(tmp_path):
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 1900, 2000, 400, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 64, 64)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    (tmp_path / "volume.nii.gz").write_bytes(gzip.compress(bytes(header)))
    png = makers.pictures("png")[0]
    body = b"IHDR" + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[24:29]
    (tmp_path / "huge.png").write_bytes(png[:12] + body + struct.pack(">I", zlib.crc32(body)) + png[33:])
    (tmp_path / "frames.dcm").write_bytes(_frames(10**6))
    (tmp_path / "deep.dcm").write_bytes(_deep(3000))
    (tmp_path / "bytes.png").write_bytes(png + bytes(2 << 20))
    began = time.monotonic()
    found = told_of(tmp_path, max_file_gib=1 / 1024)
    assert time.monotonic() - began < 120  # on however busy a machine: read, they would take hours
    # from its header, not from what happens when it is read
    assert found["volume.nii.gz"][0] == "too_large" and "A volume of 11.3 GiB" in found["volume.nii.gz"][1]
    assert "max_pixels" in found["huge.png"][1] and "max_frames" in found["frames.dcm"][1]
    assert "max_file_gib" in found["bytes.png"][1]
    assert found["deep.dcm"][0] in (None, "unreadable")


def _frames(number: int) -> bytes:
    import io

    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(makers.dicom_seeds()[0]))
    dataset.NumberOfFrames = number
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def _deep(depth: int) -> bytes:
    """A sequence in a sequence in a ..., of undefined lengths, in a file that begins like any other."""
    seed = makers.dicom_seeds()[0]
    at = seed.index(b"\x20\x00\x0d\x00")  # StudyInstanceUID: what follows has larger tags
    item = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return seed[:at] + item * depth + seed[at:]


def takes_memory(task: Task) -> list[dict]:
    """Stands in for a decoder that believes what a file promises."""
    if "bomb" in task.record.path:
        np.ones(3 << 30, np.uint8)
    return rows_of(task)


def takes_for_ever(task: Task) -> list[dict]:
    """Stands in for a decoder that never comes back, and never lets go of the interpreter."""
    if "endless" in task.record.path:
        sum(range(10**12))
    return rows_of(task)


def test_a_file_that_wants_all_memory_costs_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr("covidpipe.io.rows.rows_of", takes_memory)
    task = Task(tmp_path, ImageRecord("bomb", frame=None), None, None, reading.LIMITS)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from covidpipe.io.bounded import bound_memory

    with ProcessPoolExecutor(1, mp_context=get_context("fork"), initializer=bound_memory, initargs=(1.0,)) as pool:
        (row,) = pool.submit(read_rows, task).result()
    assert row["reason"] == "too_large" and "`limits.max_memory_gib`" in row["sentence"]


def test_a_file_that_takes_for_ever_costs_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr("covidpipe.io.parallel.read_rows", takes_for_ever)
    (tmp_path / "a.png").write_bytes(makers.pictures("png")[0])
    (tmp_path / "endless.png").write_bytes(makers.pictures("png")[0])
    found = told_of(tmp_path, max_seconds=5)
    assert found["a.png"][0] is None
    assert found["endless.png"][0] == "too_large" and "took more than 5 s" in found["endless.png"][1]


def test_links_that_go_round_in_circles_end(tmp_path):
    """Sixteen folders that each link to all: walked without memory, 16 to the power of 40 places."""
    for n in range(16):
        (tmp_path / f"d{n}").mkdir()
        for other in range(16):
            (tmp_path / f"d{n}" / f"to{other}").symlink_to(tmp_path / f"d{other}")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "d3" / "a.png").write_bytes(makers.pictures("png")[0])
    began = time.process_time()
    assert sorted(Path(path).name for path in walk(tmp_path)) == ["a.png", "self"]
    assert len(workflow.listing(tmp_path)) == 16
    assert time.process_time() - began < 5
    assert told_of(tmp_path)["self"][0] == "unreadable"


def test_a_file_name_that_is_no_text_is_a_row_on_the_screen_and_in_the_table(tmp_path, capsys, monkeypatch):
    from covidpipe.cli import main
    from covidpipe.config import parse
    from covidpipe.io.files import read_table
    from covidpipe.schemas import IMAGES
    from covidpipe.sealed import unseal

    name = os.fsdecode(b"in\xff\xfe.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(makers.pictures("png")[0])
    assert main(["check", str(tmp_path / "in")]) == 0
    assert "in\\xff" in capsys.readouterr().out.replace("\\udcff", "\\xff")
    config = parse({"cohorts": {"c": {"path": str(tmp_path / "in")}}}, "here")
    ingest.run(config, "c", tmp_path / "out" / "images.parquet")
    (path,) = read_table(tmp_path / "out" / "images.parquet", IMAGES)["path"].to_pylist()
    assert unseal(path) == name


def test_references_that_grow_without_end_are_refused_in_few_words(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    for text in ("\n".join(lines), "cohorts: *a11\n".join(("\n".join(lines) + "\n", "")), "[" * 5000, "x: 2020-13-45"):
        (tmp_path / "study.yaml").write_text(text)
        with pytest.raises(BadConfig) as refused:
            load(tmp_path / "study.yaml")
        assert len(str(refused.value)) < 5_000
        assert ("nested deeper than" in str(refused.value)) == text.startswith("[")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"study": "x" * 2_000_000}))
    with pytest.raises(BadConfig, match="larger than"):
        load(tmp_path / "study.yaml")
