"""TensorBoard's event files, of scalars, written without TensorFlow.

TensorFlow's own writer of scalars needs the package tensorboard; and networks are also trained on other backends.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

import google_crc32c


class EventLog:
    """A folder with one event file; TensorBoard shows it as one run while it grows.

    Older event files in the folder are removed: a training that goes on writes its past again from its history, so
    that no epoch is there twice.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for older in folder.glob("events.out.tfevents.*"):
            older.unlink()
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.covidpipe"
        self._append(_double(1, time.time()) + _bytes(3, b"brain.Event:2"))

    def add(self, step: int, tag: str, value: float) -> None:
        """Append one scalar; `step` is at least 0."""
        # Event.wall_time = 1, .step = 2, .summary = 5; Summary.value = 1; Value.tag = 1, .simple_value = 2
        scalar = _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value)
        self._append(_double(1, time.time()) + b"\x10" + _varint(step) + _bytes(5, _bytes(1, scalar)))

    def _append(self, record: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(_framed(record))


def _framed(record: bytes) -> bytes:
    """A TFRecord: length, its checksum, the record, its checksum."""
    length = struct.pack("<Q", len(record))
    return length + _masked_crc(length) + record + _masked_crc(record)


def _masked_crc(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _double(field: int, value: float) -> bytes:
    return bytes([field << 3 | 1]) + struct.pack("<d", value)


def _bytes(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content
