"""Downloads that go on where they broke off: over https, up to a size, never half a file under the final name."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path

from covidpipe.errors import BadDownload

log = logging.getLogger(__name__)

TIMEOUT = 60.0  # seconds without an answer
PIECE = 2**20
# What a server may recover from: too many requests, its own faults, gateways.
PASSING = {408, 425, 429, 500, 502, 503, 504}


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to allowed schemes only: https stays https."""

    def __init__(self, schemes: Collection[str]):
        self.schemes = schemes

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _check_scheme(newurl, self.schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str, schemes: Collection[str]) -> None:
    scheme = url.partition(":")[0].lower()
    if scheme not in schemes:
        raise BadDownload(f"it would come by `{scheme}`, and only {' or '.join(schemes)} is trusted")


def download(
    url: str,
    path: Path,
    *,
    largest: int,
    schemes: Collection[str] = ("https",),
    attempts: int = 1,
    wait: float = 1.0,
) -> None:
    """Download into `path`; with several attempts, what is there already of the same file is gone on with.

    Parameters
    ----------
    url : str
    path : Path
        A temporary name. With several attempts, ``{path}.tag`` beside it keeps what the server calls this version of
        the file: only the rest of that same version is ever appended.
    largest : int
        Bytes after which the download is given up.
    schemes : collection of str
        What `url`, and what it redirects to, may begin with.
    attempts : int
        How often it is tried when the connection breaks or the server is busy; `path` stays for a later run.
    wait : float
        Seconds before the second attempt, doubled for each one after it.

    Raises
    ------
    BadDownload
        The file cannot be had: the last reason.
    """
    for attempt in range(1, attempts + 1):
        try:
            _once(url, path, largest, schemes, keep=attempts > 1)
        except (OSError, http.client.HTTPException, ValueError, _BrokenOff) as error:
            if attempt == attempts or not _may_pass(error):
                raise BadDownload(_reason(error)) from None
            log.info("%s: %s; trying again in %g s (%d of %d)", url, _reason(error), wait, attempt + 1, attempts)
            time.sleep(wait)
            wait *= 2
        else:
            _tag_of(path).unlink(missing_ok=True)
            return


def check_sum(path: Path, checksum: str | None) -> None:
    """Compare a file with ``sha256:`` or ``md5:`` and the digits, or their beginning; None compares nothing.

    Raises
    ------
    BadDownload
        It is another file.
    """
    if checksum is None:
        return
    kind, _, wanted = checksum.partition(":")
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if not found.startswith(wanted):
        raise BadDownload(f"its {kind} is {found}, not {wanted}")


class _BrokenOff(Exception):
    """The connection ended before the file did."""


def _tag_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.tag")


def _once(url: str, path: Path, largest: int, schemes: Collection[str], keep: bool) -> None:
    _check_scheme(url, schemes)
    tag = _tag_of(path)
    have = path.stat().st_size if path.exists() and tag.exists() else 0
    headers = {"User-Agent": "covidpipe", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.build_opener(_Redirects(schemes)).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left of it, or it has shrunk: its whole length says which
            total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            if total and int(total[1]) == have:
                return
            tag.unlink()
            raise _BrokenOff(f"the server has no more after {have:,} bytes") from None
        raise
    with contextlib.closing(answer):
        begin, expected = _extent(answer, have)
        if expected is not None and expected > largest:
            raise BadDownload(f"it is larger than {largest:,} bytes")
        if begin == 0:
            tag.unlink(missing_ok=True)  # of another version
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if keep and version and not version.startswith("W/"):  # a weak one does not promise the same bytes
                tag.write_text(version, encoding="utf-8")
        received = begin
        with path.open("ab" if begin else "wb") as target:
            while piece := answer.read(PIECE):
                received += len(piece)
                if received > largest:
                    raise BadDownload(f"it is larger than {largest:,} bytes")
                target.write(piece)
    if expected is not None and received != expected:
        raise _BrokenOff(f"it broke off after {received:,} of {expected:,} bytes")


def _extent(answer: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """First byte of what comes, and the length of the whole file if it is told."""
    length = answer.headers.get("Content-Length")
    told = None if length is None else int(length)
    if answer.status != 206:
        return 0, told
    part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if part is None or int(part[1]) != have:
        raise BadDownload(f"the server sent {answer.headers.get('Content-Range')!r} when asked to go on at {have:,}")
    return have, int(part[3]) if part[3] != "*" else int(part[2]) + 1


def _may_pass(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in PASSING
    return not isinstance(error, ValueError)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
