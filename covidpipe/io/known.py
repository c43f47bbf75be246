"""What was found in files, kept sealed from run to run: a file that stayed as it was need not be opened again."""

from __future__ import annotations

import json
import logging
import struct
import time
import zlib
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from covidpipe.io.files import replacing
from covidpipe.sealed import seal_bytes, unseal_bytes

log = logging.getLogger(__name__)

OF = b"known files"
LENGTH = struct.Struct(">Q")  # of a sealed piece, which follows
LINES = 2**12  # of a piece, at most
SECONDS = 10.0  # between two pieces, at most: what a run that is killed has to do again


class Known:
    """A file of sealed pieces: what was found, as JSON, each under a stamp that moves when it no longer holds.

    It is no result: whatever it lacks is found again. So a piece that is torn, damaged or sealed with another key is
    told in the log and left out, and a disk without room for it ends nothing.

    Parameters
    ----------
    path : Path
    key : bytes
        Of the identifiers (`covidpipe.provenance.id_key`).
    """

    def __init__(self, path: Path, key: bytes):
        self._path, self._key = path, key
        self._waiting: list[bytes] = []
        self._flushed = time.monotonic()
        self._full = False

    def recall(self, wanted: MutableMapping[str, int]) -> Iterator[tuple[int, Any]]:
        """Yield what is kept under the stamps `wanted`, with their numbers; forget all the rest.

        Parameters
        ----------
        wanted : mapping of str to int
            Stamps, to numbers of the caller's. Those that are found are taken out.
        """
        with replacing(self._path) as partial, partial.open("wb") as file:
            for sealed, lines in self._pieces():
                kept = []
                for line in lines:
                    stamp, _, found = line.partition(b" ")
                    number = wanted.pop(stamp.decode(), None)
                    if number is not None:
                        kept.append(line)
                        yield number, json.loads(found)
                if kept:
                    _write(file, sealed if len(kept) == len(lines) else self._seal(kept))

    def keep(self, stamp: str, found: Any) -> None:
        """Keep what was found; it is on the disk within seconds."""
        self._waiting.append(f"{stamp} {json.dumps(found, separators=(',', ':'), default=_plain)}".encode())
        if len(self._waiting) >= LINES or time.monotonic() - self._flushed > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting and not self._full:
            try:
                with self._path.open("ab") as file:
                    _write(file, self._seal(self._waiting))
            except OSError as error:
                self._full = True
                log.warning("%s: what was read is not kept for the next run (%s)", self._path, error.strerror)
        self._waiting, self._flushed = [], time.monotonic()

    def _seal(self, lines: list[bytes]) -> bytes:
        return seal_bytes(zlib.compress(b"\n".join(lines), 1), self._key, OF)

    def _pieces(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """The pieces as they lie there and their lines, as far as they can be opened."""
        if not self._path.exists():
            return
        closed, size = 0, self._path.stat().st_size
        with self._path.open("rb") as file:
            while head := file.read(LENGTH.size):
                length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
                if not 0 < length < size:
                    closed += 1
                    break
                sealed = file.read(length)
                opened = unseal_bytes(sealed, self._key, OF)
                if opened is None:
                    closed += 1
                else:
                    yield sealed, zlib.decompress(opened).split(b"\n")
        if closed:
            log.warning(
                "%s: %d pieces are damaged or sealed with another key; their files are read", self._path, closed
            )


def _write(file: Any, sealed: bytes) -> None:
    file.write(LENGTH.pack(len(sealed)) + sealed)


def _plain(value: Any) -> Any:
    """A number of NumPy's as Python's own."""
    return value.item()
