"""Public data sets, downloaded once and recognized ever after: a first download's checksum is kept and compared."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Collection
from pathlib import Path

from covidpipe.datasets.public import PublicSet, RemoteFile
from covidpipe.errors import BadDownload
from covidpipe.io.download import check_sum, download
from covidpipe.io.files import file_sha256, read_json, write_json

log = logging.getLogger(__name__)

RECORD = "checksums.json"
ATTEMPTS = 5


def fetch(
    name: str,
    wanted: PublicSet,
    folder: Path,
    *,
    schemes: Collection[str] = ("https",),
    attempts: int = ATTEMPTS,
    wait: float = 2.0,
) -> list[str]:
    """Download the files of a data set into `folder`, those that are not there, and check all of them.

    Parameters
    ----------
    name : str
    wanted : PublicSet
    folder : Path
        Gets the files and ``checksums.json``: SHA-256, bytes, origin and time of each file's first download.
    schemes : collection of str
        What addresses may begin with; tests add ``http`` for their own server.
    attempts, wait : int, float
        As of `covidpipe.io.download.download`.

    Returns
    -------
    list of str
        A line for each file: what became of it.

    Raises
    ------
    BadDownload
        A file cannot be had, or is not the one that was declared or recorded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_fetched(name, file, folder, schemes, attempts, wait) for file in wanted.files]


def _fetched(name: str, wanted: RemoteFile, folder: Path, schemes: Collection[str], attempts: int, wait: float) -> str:
    path, record = folder / wanted.file, folder / RECORD
    known = read_json(record) if record.exists() else {}
    recorded = known.get(wanted.file, {}).get("sha256")
    if path.exists():
        try:
            check_sum(path, wanted.checksum)
            check_sum(path, recorded and f"sha256:{recorded}")
        except BadDownload as error:
            raise BadDownload(
                f"{path}: {error}. Delete it to have it downloaded again"
                + ("." if wanted.checksum else f", and its line in {record} if the set was published anew.")
            ) from None
        if recorded:
            return f"{path}: there already, SHA-256 as recorded."
    else:
        partial = folder / f"{wanted.file}.partial"
        log.info("%s: downloading %s", name, wanted.url)
        try:
            download(
                wanted.url,
                partial,
                largest=int(wanted.largest_gib * 2**30),
                schemes=schemes,
                attempts=attempts,
                wait=wait,
            )
        except BadDownload as error:
            raise BadDownload(
                f"{name}: {wanted.url}: {error}. Run the same command again to go on; or put the file at {path}."
            ) from None
        try:
            check_sum(partial, wanted.checksum)
            check_sum(partial, recorded and f"sha256:{recorded}")
        except BadDownload as error:
            partial.unlink()
            raise BadDownload(
                f"{name}: what came from {wanted.url} is not what was wanted: {error}. Nothing was kept; it was "
                "damaged on its way, or published anew. Run the same command again; if it stays so, take it by hand."
            ) from None
        partial.replace(path)
    sha256 = recorded or file_sha256(path)
    if not recorded:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        entry = {"sha256": sha256, "bytes": path.stat().st_size, "url": wanted.url, "recorded": now}
        write_json(record, {**known, wanted.file: entry})
    how = "as declared" if wanted.checksum else "recorded" if not recorded else "as recorded"
    return f"{path}: {path.stat().st_size:,} bytes, SHA-256 {sha256} ({how})."
