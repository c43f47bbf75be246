"""Files of ImageNet weights: found in a folder, or downloaded into it; used only if their checksum is right."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path

from covidpipe.errors import BadDownload, BadWeights
from covidpipe.io.download import check_sum
from covidpipe.io.download import download as download_from
from covidpipe.io.files import file_sha256, replacing

log = logging.getLogger(__name__)

LARGEST = 2**30  # bytes; the largest of them, VGG-19, has 80 million


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
                download_from(url, partial, largest=largest, schemes=schemes)
                check_sum(partial, checksum)
        except BadDownload as error:
            raise BadWeights(f"{wanted}; the download failed: {error}. {remedy}") from None
    try:
        check_sum(path, checksum)
    except BadDownload as error:
        raise BadWeights(
            f"{path}: wanted the ImageNet weights of `{network}`, and {error}. Delete it to have it downloaded again "
            f"(from {url}), or give its own checksum under `pretrained.files.{network}`."
        ) from None
    return path, file_sha256(path)
