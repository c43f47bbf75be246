"""Files of ImageNet weights: found in a folder, or downloaded into it; used only if their checksum is right."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path

from covidpipe.errors import BadWeights
from covidpipe.io.files import file_sha256, replacing

log = logging.getLogger(__name__)

LARGEST = 2**30  # bytes; the largest of them, VGG-19, has 80 million
TIMEOUT = 60.0  # seconds without an answer
PIECE = 2**20


def default_folder() -> Path:
    """Where weights are kept if no folder is named: ``covidpipe/weights`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "covidpipe" / "weights"


def obtain(
    network: str,
    file: str,
    url: str,
    checksum: str | None,
    *,
    folder: Path | None = None,
    download: bool = True,
    schemes: Collection[str] = ("https",),
    largest: int = LARGEST,
) -> tuple[Path, str]:
    """Return a file of weights and its SHA-256; download it if it is not there.

    Parameters
    ----------
    network : str
        Whose weights they are, for the messages.
    file : str
        Its name in `folder`.
    url : str
    checksum : str, optional
        ``sha256:`` or ``md5:`` and the digits, or their beginning. None: nothing is compared.
    folder : Path, optional
        None: `default_folder`.
    download : bool
        Whether a missing file may be downloaded.
    schemes : collection of str
        What `url`, and what it redirects to, may begin with.
    largest : int
        Bytes after which a download is given up.

    Returns
    -------
    path : Path
    sha256 : str

    Raises
    ------
    BadWeights
        The file is not there and cannot be had, or it is another one: with what to put where.
    """
    folder = default_folder() if folder is None else folder
    path = folder / file
    if not path.exists():
        remedy = (
            f"Where there is a network: fetch {url}"
            + (f" ({checksum.replace(':', ' ')})" if checksum else "")
            + f" and put it at {path}, or name its folder as `pretrained.weights_dir`."
        )
        wanted = f"ImageNet weights of `{network}` are wanted at {path}, and there is no such file"
        if not download:
            raise BadWeights(f"{wanted}; `pretrained.download` is off. {remedy}")
        log.info("downloading the ImageNet weights of %s from %s", network, url)
        try:
            with replacing(path) as partial:
                _download(url, partial, schemes, largest)
                _check(partial, checksum)
        except (BadWeights, OSError, http.client.HTTPException, ValueError) as error:
            raise BadWeights(f"{wanted}; the download failed: {_reason(error)}. {remedy}") from None
    try:
        _check(path, checksum)
    except BadWeights as error:
        raise BadWeights(
            f"{path}: wanted the ImageNet weights of `{network}`, and {error}. Delete it to have it downloaded again "
            f"(from {url}), or give its own checksum under `pretrained.files.{network}`."
        ) from None
    return path, file_sha256(path)


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
        raise BadWeights(f"it would come by `{scheme}`, and only {' or '.join(schemes)} is trusted")


def _download(url: str, path: Path, schemes: Collection[str], largest: int) -> None:
    _check_scheme(url, schemes)
    request = urllib.request.Request(url, headers={"User-Agent": "covidpipe"})
    with (
        contextlib.closing(urllib.request.build_opener(_Redirects(schemes)).open(request, timeout=TIMEOUT)) as answer,
        path.open("wb") as target,
    ):
        expected = int(answer.headers.get("Content-Length") or -1)
        received = 0
        while piece := answer.read(PIECE):
            received += len(piece)
            if received > largest:
                raise BadWeights(f"it is larger than {largest:,} bytes")
            target.write(piece)
    if expected >= 0 and received != expected:
        raise BadWeights(f"it broke off after {received:,} of {expected:,} bytes")


def _check(path: Path, checksum: str | None) -> None:
    if checksum is None:
        return
    kind, _, wanted = checksum.partition(":")
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if not found.startswith(wanted):
        raise BadWeights(f"its {kind} is {found}, not {wanted}")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
