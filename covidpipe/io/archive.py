"""Archives, unpacked as if they came from a stranger: plain files only, below the target, up to a size."""

from __future__ import annotations

import lzma
import os
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from covidpipe.config import Limits
from covidpipe.errors import BadConfig
from covidpipe.io.bounded import bounded_memory
from covidpipe.io.files import replacing

CHUNK = 1 << 20

# What the standard library raises for archives that are damaged, encrypted or packed in an unknown way.
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, IndexError, MemoryError, NotImplementedError, OverflowError, RuntimeError, ValueError),
)


def unpack(archive: Path, target: Path, limits: Limits) -> None:
    """Unpack a .zip, .tar.gz or .tgz into `target`, which only its owner can enter; an older `target` is replaced.

    A member of a .zip that is damaged becomes an empty file, so that it stays one row of the image table.

    Raises
    ------
    BadConfig
        The archive is damaged or encrypted, holds a link, a device or a path outside itself, or is too large.
    """
    left = int(limits.max_unpacked_gib * (1 << 30))
    seen: set[str] = set()
    try:
        with bounded_memory(limits.max_memory_gib), replacing(target) as partial:
            partial.mkdir(mode=0o700)
            for number, (name, source) in enumerate(_members(archive), start=1):
                if number > limits.max_unpacked_files:
                    raise BadConfig(
                        f"{archive}: more than {limits.max_unpacked_files:,} files; raise "
                        "`limits.max_unpacked_files` if this is meant."
                    )
                place = _inside(archive, partial, name, number)
                _claim(place.relative_to(partial), seen)
                left -= _copy(source, place, left)
                if left < 0:
                    raise BadConfig(
                        f"{archive}: more than {limits.max_unpacked_gib:g} GiB when unpacked; raise "
                        "`limits.max_unpacked_gib` if this is meant."
                    )
    except DAMAGED as error:
        # Not the error's own words: they quote names of members, which may be those of patients.
        why = "it is encrypted" if isinstance(error, RuntimeError) else type(error).__name__
        raise BadConfig(
            f"{archive}: cannot be unpacked ({why}). Wanted a whole, unencrypted .zip or .tar.gz: make it again, or "
            "unpack it yourself and give the folder."
        ) from None
    except FileExistsError:
        raise BadConfig(
            f"{archive}: two members have the same name, at least where upper and lower case are one. Unpack it and "
            "give the folder."
        ) from None
    except OSError as error:
        raise BadConfig(
            f"{archive}: cannot be unpacked to {target}: {error.strerror or error}. Wanted: room there, and the right "
            "to write; or unpack it yourself and give the folder."
        ) from None


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each plain file; folders are made when a file needs them."""
    if archive.suffix.lower() == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for number, info in enumerate(packed.infolist(), start=1):
                kind = info.external_attr >> 28  # file type of Unix permissions; 0 where another system packed it
                if kind not in (0, 0o10, 0o04):
                    raise BadConfig(_strange(archive, number))
                if not info.is_dir():
                    with packed.open(info) as source:
                        yield info.filename, source
        return
    with tarfile.open(archive, "r:gz") as packed_tar:
        for number, member in enumerate(packed_tar, start=1):
            if not (member.isfile() or member.isdir()):
                raise BadConfig(_strange(archive, number))
            content = packed_tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content


def _strange(archive: Path, number: int) -> str:
    return (
        f"{archive}: its member number {number} is a link, a device or outside of the archive. Wanted plain files: "
        "unpack it yourself, look at it, and give the folder."
    )


def _inside(archive: Path, folder: Path, name: str, number: int) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name:
        raise BadConfig(_strange(archive, number))
    place = folder.joinpath(*parts)
    for parent in reversed(place.relative_to(folder).parents[:-1]):
        (folder / parent).mkdir(mode=0o700, exist_ok=True)
    return place


def _claim(place: Path, seen: set[str]) -> None:
    """Refuse a second file whose name is the same on some disk: case and accents are not told apart everywhere."""
    name = unicodedata.normalize("NFC", place.as_posix()).casefold()
    if name in seen:
        raise FileExistsError
    seen.add(name)


def _copy(source: IO[bytes], place: Path, most: int) -> int:
    """Write a member, and return its size, or more than `most` as soon as it is larger."""
    copied = 0
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            while copied <= most and (chunk := source.read(CHUNK)):
                file.write(chunk)
                copied += len(chunk)
        except (zipfile.BadZipFile, zlib.error):
            if not isinstance(source, zipfile.ZipExtFile):
                raise  # the rest of a .tar.gz cannot be found any more
            file.seek(0)
            file.truncate()
    return copied
