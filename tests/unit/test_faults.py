"""Disks that fill, files that are cut, runs that meet: a clear message, no wrong table, the same bytes afterwards."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_cohort as tiny

from covidpipe.cli import main
from covidpipe.config import dump
from covidpipe.errors import BadTable, CovidpipeError, DiskFull, NotWhole
from covidpipe.io.files import read_json, read_table, replacing, write_json, write_table, write_text
from covidpipe.io.store import open_store
from covidpipe.schemas import IMAGES, SPLIT
from covidpipe.stages import cohort, ingest
from tests.fuzz import makers


@contextmanager
def disk(folder: Path, kib: int, *options: str) -> Iterator[Path]:
    """A disk of its own, in memory, of so many KiB."""
    folder.mkdir()
    given = ",".join([f"size={kib}k", *options])
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", given, "tmpfs", folder]).returncode != 0:
        pytest.skip("a disk that fills is a small tmpfs, and mounting one takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


# --- Tables and stores ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return [{"image_id": f"i{n:04d}", "group": f"p{n % 50}", "fold": n % 50 % 4} for n in range(2000)]


def test_a_table_cut_anywhere_is_told_and_written_again_with_the_same_bytes(tmp_path, rows):
    path = tmp_path / "split.parquet"
    write_table(path, rows, SPLIT)
    whole = path.read_bytes()
    for cut in (0, 3, 4, len(whole) // 3, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(BadTable, match=r"not a whole Parquet file .*delete it and run again"):
            read_table(path, SPLIT)
    write_table(path, rows, SPLIT)
    assert path.read_bytes() == whole


def test_no_flipped_bit_of_a_page_is_read(tmp_path, rows):
    """Pages are compressed, and zstd does not notice everything: a checksum does."""
    path = tmp_path / "split.parquet"
    table = write_table(path, rows, SPLIT)
    whole, chance = path.read_bytes(), random.Random(1)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[chance.randrange(4, footer)] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            assert read_table(path, SPLIT).equals(table)  # a bit that means nothing
        except BadTable:
            refused += 1
    assert refused > 50


def test_a_footer_that_forgot_its_rows_is_no_empty_table(tmp_path, rows):
    """Found by `make fuzz`: a footer has no checksum, and a damaged one was read as a table without rows."""
    path, empty = tmp_path / "split.parquet", tmp_path / "empty.parquet"
    write_table(path, rows, SPLIT)
    schema = pq.read_schema(path)
    pq.ParquetWriter(empty, schema).close()
    assert read_table(empty, SPLIT).num_rows == 0
    whole, none = path.read_bytes(), empty.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    path.write_bytes(whole[:footer] + none[4:])
    assert pq.read_table(path).num_rows == 0  # as others read it
    with pytest.raises(BadTable, match="its footer does not fit its rows"):
        read_table(path, SPLIT)


def test_a_store_that_lacks_a_shard_is_not_one_without_infection(tmp_path):
    for name, content in makers.store_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert not open_store(tmp_path).read("lung_mask", range(6)).any()
    shard = tmp_path / "images.zarr" / "lung_mask" / "c" / "1" / "0" / "0"
    for change in (lambda: shard.write_bytes(b""), shard.unlink):
        change()
        with pytest.raises(BadTable, match=r"shard 1 of `lung_mask` is gone, or empty.*run again"):
            open_store(tmp_path).read("lung_mask", range(6))
        assert not open_store(tmp_path).read("lung_mask", [0, 1, 4]).any()  # the other shards are whole


def test_what_a_killed_writer_left_is_taken_for_nothing(tmp_path):
    script = (
        "import os, sys; from covidpipe.io.files import replacing\n"
        "with replacing(sys.argv[1]) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), 9)"
    )
    (tmp_path / "a").write_text("whole")
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")]).returncode == -9
    assert (tmp_path / "a").read_text() == "whole"
    left = [path for path in tmp_path.iterdir() if path.name != "a"]
    assert [path.name.startswith(".a.") for path in left] == [True]  # hidden: no rule and no reader takes it
    write_text(tmp_path / "a", "again")
    assert (tmp_path / "a").read_text() == "again"


def test_two_writers_of_one_file_leave_one_of_theirs_whole(tmp_path):
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        first.write_text("first" * 1000)
        second.write_text("second" * 1000)
    assert (tmp_path / "a").read_text() in ("first" * 1000, "second" * 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# --- Power ----------------------------------------------------------------------------------------------------------


class Losing:
    """What a disk would hold if its power failed now: of each file what was last synced, under names as last synced.

    A name that was not synced yet may be kept or not, so both are looked at; a file that never was is empty.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch):
        self.root, self.kept, self.names, self.moments = root, {}, {}, 0
        self.seen: list[dict[str, bytes]] = []
        self._fsync, self._replace = os.fsync, os.replace
        self._keep_all()
        monkeypatch.setattr(os, "fsync", self._synced)
        monkeypatch.setattr(os, "replace", self._replaced)

    def _keep_all(self) -> None:
        for path in (self.root, *self.root.rglob("*")):
            self._keep(path)

    def _keep(self, path: Path) -> None:
        number = path.stat().st_ino
        if path.is_dir():
            self.names[number] = {item.name: item.stat().st_ino for item in path.iterdir()}
        else:
            self.kept[number] = path.read_bytes()

    def _synced(self, handle: int) -> None:
        self._fsync(handle)
        self._keep(Path(f"/proc/self/fd/{handle}").readlink())
        self.seen += [self._left(True), self._left(False)]

    def _replaced(self, old: object, new: object) -> None:
        self._replace(old, new)
        self.seen += [self._left(True), self._left(False)]

    def _left(self, names_kept: bool) -> dict[str, bytes]:
        """Files by their places after a power failure now; the names as they are, or as they were synced."""
        found: dict[str, bytes] = {}

        def enter(place: str, number: int, path: Path | None) -> None:
            if number in self.names or (path is not None and path.is_dir()):
                entries = dict(self.names.get(number, {}))
                if names_kept and path is not None and place == "":  # a rename is kept early, and nothing below it
                    entries |= {item.name: item.stat().st_ino for item in path.iterdir()}
                for name, inner in entries.items():
                    enter(
                        f"{place}/{name}", inner, path / name if path is not None and (path / name).exists() else None
                    )
            else:
                found[place] = self.kept.get(number, b"")

        enter("", self.root.stat().st_ino, self.root)
        return {place: content for place, content in found.items() if ".partial" not in place}


def test_power_lost_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old" * 1000)
    losing = Losing(tmp_path, monkeypatch)
    write_text(tmp_path / "a", "new" * 1000)
    assert len(losing.seen) >= 6
    found = [left.get("/a") for left in losing.seen]
    assert set(found) == {b"old" * 1000, b"new" * 1000} and found[-1] == b"new" * 1000


def test_power_lost_at_any_moment_leaves_no_half_of_a_folder(tmp_path, monkeypatch):
    whole = {f"/s/{name}": content for name, content in makers.store_files()}
    losing = Losing(tmp_path, monkeypatch)
    with replacing(tmp_path / "s") as partial:
        for name, content in makers.store_files():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
    assert losing.seen[-1] == whole
    assert all(left in ({}, whole) for left in losing.seen)


@pytest.mark.parametrize(
    "left", [lambda content: b"", lambda content: bytes(len(content)), lambda content: content[:-9]]
)
def test_a_disk_that_keeps_no_promise_is_noticed_by_what_reads_next(tmp_path, rows, left):
    """Names are there and contents are not: what was told to be on the disk never was."""
    path = tmp_path / "split.parquet"
    write_table(path, rows, SPLIT)
    path.write_bytes(left(path.read_bytes()))
    with pytest.raises(BadTable, match="not a whole Parquet file"):
        read_table(path, SPLIT)
    write_json(tmp_path / "run.json", {"weights_sha256": "0" * 64, "recipe": {"model": "x"}})
    (tmp_path / "run.json").write_bytes(left((tmp_path / "run.json").read_bytes()))
    with pytest.raises(NotWhole, match=r"run\.json: not whole JSON .*run again"):
        read_json(tmp_path / "run.json")
    for number, (name, content) in enumerate(makers.store_files()):
        folder = tmp_path / f"store-{number}"
        for other, whole in makers.store_files():
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / other).write_bytes(left(content) if other == name else whole)
        if name == "images.zarr/zarr.json":
            continue  # what the group says of itself is read by nobody
        with pytest.raises(CovidpipeError, match="again"):
            store = open_store(folder)
            for array in ("image", "lung_mask"):
                store.read(array, range(6))


# --- Disks ----------------------------------------------------------------------------------------------------------


def study(folder: Path, out: Path) -> Path:
    """A config of drawn chests whose results go to `out`."""
    if not (folder / "files").exists():
        tiny.write_images(folder)
    config = folder / f"{out.parent.name}.yaml"
    config.write_text(dump(tiny.config(folder, results=str(out))))
    return config


def test_a_disk_that_is_full_at_any_size_never_leaves_a_wrong_table(tmp_path, rows):
    write_table(tmp_path / "split.parquet", rows, SPLIT)
    whole, chance, told = (tmp_path / "split.parquet").read_bytes(), random.Random(3), 0
    for number in range(20):
        with disk(tmp_path / f"disk{number}", chance.randrange(4, 2 * len(whole) // 1024, 4)) as small:
            path = small / "split.parquet"
            try:
                write_table(path, rows, SPLIT)
            except DiskFull as error:
                told += 1
                assert str(small) in str(error) and not list(small.iterdir())
                subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
                write_table(path, rows, SPLIT)
            assert path.read_bytes() == whole
    assert 3 <= told < 20


def test_a_command_tells_a_full_disk_with_its_need(tmp_path, capsys):
    undisturbed = tmp_path / "whole" / "images.parquet"
    config = study(tmp_path, tmp_path / "results")
    arguments = ["ingest", "c", "--config", str(config), "--out"]
    assert main([*arguments, str(undisturbed)]) == 0
    with disk(tmp_path / "disk", 12) as small:
        out = small / "images.parquet"
        assert main([*arguments, str(out)]) == 3
        said = capsys.readouterr().err
        assert "Traceback" not in said and "No space left on device" in said and str(small) in said
        assert "MiB were free" in said and "are needed for this alone" in said and "Make room" in said
        assert not out.exists() and not list(small.glob(".*partial"))
        subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
        assert main([*arguments, str(out)]) == 0
        assert out.read_bytes() == undisturbed.read_bytes()


def test_a_full_disk_is_told_of_whatever_library_met_it(tmp_path):
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Can't write data (file write failed: error message = 'No space left on device')"),
    ):
        (tmp_path / "a").write_text("before")
        with pytest.raises(DiskFull, match="MiB were free"), replacing(tmp_path / "a") as partial:
            partial.write_bytes(b"x" * 100)
            raise error
        assert (tmp_path / "a").read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["a"]
    with pytest.raises(OSError, match="else"), replacing(tmp_path / "a"):
        raise OSError(errno.EIO, "something else")


def test_results_that_cannot_be_written_are_told_in_a_line(tmp_path, capsys):
    config = study(tmp_path, tmp_path / "results")
    with disk(tmp_path / "disk", 64, "ro") as closed:
        assert main(["ingest", "c", "--config", str(config), "--out", str(closed / "images.parquet")]) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert "Read-only file system" in said and str(closed) in said


def test_images_on_a_disk_that_is_read_only_are_read_and_nothing_is_tried_there(tmp_path):
    tiny.write_images(tmp_path)
    images = tmp_path / "files" / "ct"
    config = tiny.config(tmp_path)
    ingest.run(config, "c", tmp_path / "a" / "images.parquet")
    subprocess.run(["mount", "--bind", images, images], check=False)
    if os.geteuid() != 0 or subprocess.run(["mount", "-o", "remount,ro,bind", images]).returncode != 0:
        pytest.skip("a folder that is read-only to all is a mount, and that takes root")
    try:
        with pytest.raises(OSError, match="Read-only"):
            (images / "x").touch()
        ingest.run(config, "c", tmp_path / "b" / "images.parquet")
    finally:
        subprocess.run(["umount", "--lazy", images], check=True)
    assert (tmp_path / "a" / "images.parquet").read_bytes() == (tmp_path / "b" / "images.parquet").read_bytes()


def test_a_folder_of_images_that_is_gone_is_told(tmp_path, capsys):
    config = study(tmp_path, tmp_path / "results")
    shutil.move(tmp_path / "files", tmp_path / "elsewhere")
    assert main(["ingest", "c", "--config", str(config), "--out", str(tmp_path / "out" / "images.parquet")]) == 3
    said = capsys.readouterr().err
    assert "there is no such file or folder" in said and "Traceback" not in said
    assert not (tmp_path / "out" / "images.parquet").exists()


def test_images_that_vanish_while_they_are_read_are_rows(tmp_path):
    """Listed, and gone when their turn comes."""
    tiny.write_images(tmp_path)
    root, records = ingest.gather(tmp_path / "files" / "ct", None, tiny.config(tmp_path).limits)
    (root / records[0].path).unlink()
    found = ingest.ingest(root, records, ingest.Source(path=str(root), modality="ct"), tiny.config(tmp_path).limits)
    assert [row["reason"] for row in found] == ["unreadable", None, None]
    assert "missing" in found[0]["sentence"]


def test_a_clock_that_jumps_changes_no_table(tmp_path, monkeypatch):
    config = tiny.config(tmp_path)
    tiny.write_images(tmp_path)
    ingest.run(config, "c", tmp_path / "a" / "images.parquet")
    jumps = iter(np.random.default_rng(0).uniform(-1e9, 1e9, 10_000))
    monkeypatch.setattr("covidpipe.stages.ingest.time.time", lambda: 1.7e9 + next(jumps))
    ingest.run(config, "c", tmp_path / "b" / "images.parquet")
    assert (tmp_path / "a" / "images.parquet").read_bytes() == (tmp_path / "b" / "images.parquet").read_bytes()
    assert read_table(tmp_path / "b" / "images.parquet", IMAGES).num_rows == 9


# --- Two runs -------------------------------------------------------------------------------------------------------


def test_a_second_run_in_one_folder_is_told_and_a_killed_ones_lock_is_not_in_the_way(tmp_path):
    config = tiny.config(tmp_path)
    locks = Path(config.results) / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    script = (
        "import sys, time; from covidpipe.config import Config; from covidpipe.stages.cohort import only_run\n"
        "with only_run(Config(results=sys.argv[1])):\n    print('here', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, config.results], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "here\n"
    (locks / "1.input.lock").touch()
    with (
        pytest.raises(CovidpipeError, match=r"another run works in this folder.*Wait until it is done"),
        cohort.only_run(config),
    ):
        pass
    assert [path.name for path in locks.iterdir()] == ["1.input.lock"]  # the other's, which is needed
    other.kill()
    other.wait()
    with cohort.only_run(config):
        assert not list(locks.iterdir())
