"""Paths that may name a patient: written sealed, opened only by whoever has the key for identifiers.

A hash would do for a name that is never needed again; a path is, by every stage that reads the file once more. So it is
encrypted instead, with a key derived from that of the identifiers (`covidpipe.provenance.id_key`): AES-SIV (RFC 5297),
which gives the same words for the same path, as reruns that give the same bytes need, and notices any change.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from pathlib import Path
from typing import Any

from covidpipe.errors import BadConfig

MARK = "sealed:"


def seal(path: str, key: bytes | None = None) -> str:
    """Return `path` as words that tell nothing of it but its length; what is sealed already stays as it is.

    Parameters
    ----------
    path : str
        Any path, also one that is no UTF-8.
    key : bytes, optional
        Of the identifiers, where it is at hand.

    Examples
    --------
    >>> sealed = seal("Doe_John/1.dcm")  # doctest: +SKIP
    >>> sealed.startswith("sealed:"), unseal(sealed)  # doctest: +SKIP
    (True, 'Doe_John/1.dcm')
    """
    if path.startswith(MARK) or not path:
        return path
    cipher, _ = _cipher(_key() if key is None else key)
    return MARK + base64.urlsafe_b64encode(cipher.encrypt(_bytes(path), None)).decode().rstrip("=")


def unseal(word: str) -> str:
    """Return the path that was sealed; a word that is not sealed is a path already.

    Raises
    ------
    BadConfig
        It was sealed with another key, or changed since.
    """
    if not word.startswith(MARK):
        return word
    cipher, tampered = _cipher(_key())
    code = word.removeprefix(MARK)
    try:
        found = cipher.decrypt(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)), None)
    except (tampered, ValueError):
        raise BadConfig(
            "A sealed path cannot be opened: it was sealed with another key for identifiers. Set COVIDPIPE_ID_KEY to "
            "the key file that was used then, or give the path anew (config) or ingest the images again (tables)."
        ) from None
    return found.decode("utf-8", "surrogateescape")


def seal_bytes(content: bytes, key: bytes, of: bytes) -> bytes:
    """Return `content` as bytes that tell nothing of it but its length; `of` names what it is, and opens it again."""
    return _cipher(key)[0].encrypt(content, [of])


def unseal_bytes(sealed: bytes, key: bytes, of: bytes) -> bytes | None:
    """Return what `seal_bytes` sealed; None if that was with another key or as something else, or has changed since."""
    cipher, tampered = _cipher(key)
    try:
        return cipher.decrypt(sealed, [of])
    except (tampered, ValueError):
        return None


def place(root: Path, word: str) -> Path:
    """Where the file of an image table's row is: its path, sealed or not, below `root`."""
    return root / unseal(word)


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _key() -> bytes:
    from covidpipe.provenance import id_key, id_key_file  # Arrow comes along: too slow for every reading of a config

    file = id_key_file()
    try:
        modified = file.stat().st_mtime_ns
    except FileNotFoundError:
        return id_key()
    return _read_once(file, modified)


@functools.lru_cache(maxsize=4)
def _read_once(file: Path, modified: int) -> bytes:
    from covidpipe.provenance import id_key

    return id_key()


@functools.lru_cache(maxsize=4)
def _cipher(key: bytes) -> tuple[Any, type[Exception]]:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    return AESSIV(hmac.new(key, b"paths", hashlib.sha512).digest()), InvalidTag
