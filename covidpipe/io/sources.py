"""Where images come from: a folder, one file, an archive or a list; each becomes records relative to a folder."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from covidpipe.config import Limits
from covidpipe.errors import BadConfig
from covidpipe.records import ImageRecord
from covidpipe.registry import MODALITIES

ARCHIVES = (".zip", ".tar.gz", ".tgz")
LISTS = (".csv", ".txt")


def image_root(source: Path, unpacked: Path) -> Path:
    """Folder that the paths of an image table are relative to.

    Parameters
    ----------
    source : Path
        Folder, archive, list or file that was ingested.
    unpacked : Path
        Where ingest unpacks archives: ``unpacked`` beside the image table.
    """
    if source.is_dir():
        return source
    return unpacked if source.name.lower().endswith(ARCHIVES) else source.parent


def gather(source: Path, unpacked: Path | None, limits: Limits) -> tuple[Path, list[ImageRecord]]:
    """Return the folder that paths are relative to, and a record for every file of `source`.

    Parameters
    ----------
    source : Path
    unpacked : Path or None
        Where an archive's content goes; None: archives are taken for single files.
    limits : Limits

    Raises
    ------
    BadConfig
        `source` does not exist, or is an archive or list that cannot be read.
    """
    if source.is_dir():
        return source, [ImageRecord(path, frame=None) for path in walk(source)]
    if not source.exists():
        raise BadConfig(f"{source}: there is no such file or folder. Give a folder, an archive, a list or an image.")
    name = source.name.lower()
    if name.endswith(ARCHIVES) and unpacked is not None:
        from covidpipe.io.archive import unpack

        unpack(source, unpacked, limits)
        return unpacked, [ImageRecord(path, frame=None) for path in walk(unpacked)]
    if name.endswith(LISTS):
        return source.parent, read_list(source)
    return source.parent, [ImageRecord(source.name, frame=None)]


def walk(root: Path) -> list[str]:
    """Every file below `root` that is not hidden, relative to it, sorted; linked folders are entered once."""
    found: list[str] = []
    seen = {root.resolve()}

    def closed(error: OSError) -> None:
        found.append(Path(error.filename).relative_to(root).as_posix())  # a folder that cannot be listed is a row too

    for folder, folders, files in os.walk(root, onerror=closed, followlinks=True):
        here = Path(folder)
        entered = []
        for name in sorted(folders):
            real = Path(os.path.realpath(here / name))  # Path.resolve raises where links go round in circles
            if not name.startswith(".") and real not in seen:
                seen.add(real)
                entered.append(name)
        folders[:] = entered
        found += [(here / name).relative_to(root).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def read_list(path: Path) -> list[ImageRecord]:
    """Records of a .csv (column ``path`` or ``file``) or .txt (the same, or a path a line).

    Optional columns: patient, study, series, slice_index, modality. Paths are relative to the list.

    Raises
    ------
    BadConfig
        The list is empty, is not text, lacks the column, or holds a wrong value.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise BadConfig(f"{path}: not readable as a list of files ({error}). Wanted UTF-8 text.") from None
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise BadConfig(f"{path}: the list is empty. Wanted a column `path` or `file`, one row an image.")
    header = [cell.strip().lower() for cell in next(csv.reader(lines[:1]))]
    if not {"path", "file"} & set(header):
        if path.suffix.lower() == ".txt":
            return [ImageRecord(line.strip(), frame=None) for line in lines]
        raise BadConfig(
            f"{path}: wanted a column `path` or `file`, found {', '.join(header)}. Name it so in the first line."
        )
    column = "path" if "path" in header else "file"
    records = []
    for number, cells in enumerate(csv.reader(lines[1:]), start=2):
        row = {name: cell.strip() or None for name, cell in zip(header, cells, strict=False)}
        file, modality, index = row.get(column), row.get("modality"), row.get("slice_index")
        if file is None:
            raise BadConfig(f"{path}, row {number}: no `{column}` is given. Fill it in, or take the row out.")
        if modality is not None and modality not in MODALITIES:
            # Not what stands there: in a list whose columns are mixed up it may be a name.
            raise BadConfig(f"{path}, row {number}: an unknown modality; it can be {' or '.join(MODALITIES)}.")
        if index is not None and not index.isdigit():
            raise BadConfig(f"{path}, row {number}: slice_index is no whole number; wanted a whole number from 0.")
        records.append(
            ImageRecord(
                file,
                frame=None,
                patient=row.get("patient"),
                study=row.get("study"),
                series=row.get("series"),
                slice_index=int(index) if index is not None else None,
                modality=modality,
            )
        )
    return records
