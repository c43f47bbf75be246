"""What goes wrong, in words: every error says what was wanted, what came, and what would work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CovidpipeError(Exception):
    """Base of every error that a user can cause and mend; the CLI prints it without a traceback.

    ``exit_code`` is the process's exit status: 2 for usage, 3 for bad input, 75 for work that was stopped and is to be
    run again.
    """

    exit_code = 3


class UsageError(CovidpipeError):
    """The command line asks for something that does not exist or does not go together."""

    exit_code = 2


class BadConfig(CovidpipeError):
    """A config file holds an unknown key, a wrong value or a contradiction."""


class BadTable(CovidpipeError):
    """A table breaks its schema."""


class NotWhole(CovidpipeError, ValueError):
    """A file that this package wrote is empty or cut, as after a power loss on a disk that keeps no promise."""


class BadWeights(CovidpipeError):
    """Weights to start from that are missing, damaged, or those of another network."""


class BadDownload(CovidpipeError):
    """A file that cannot be had from where it is, or is another one than was wanted."""


class PatientLeak(CovidpipeError):
    """A patient, or a copy of an image, stands in two parts of a split."""


class DiskFull(CovidpipeError):
    """Something could not be written for want of room; what it would have replaced is still there."""


class BadInput(CovidpipeError):
    """A file that cannot be used, with the reason code that its row carries.

    Parameters
    ----------
    reason : str
        A code of ``covidpipe.schemas.REASONS``.
    sentence : str
        What was found, what was expected and how to repair it. Never a path, name or other
        identifier: the sentence goes into tables that leave the hospital.
    """

    def __init__(self, reason: str, sentence: str):
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence

    def __reduce__(self):  # two arguments: the default would lose one between processes
        return type(self), (self.reason, self.sentence)


class Preempted(CovidpipeError):
    """A signal stopped work that goes on where it was when it is run again (75: EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean `x`?`` for the nearest known word, or an empty string.

    >>> did_you_mean("imgae_size", ["image_size", "seed"])
    ' Did you mean `image_size`?'
    >>> did_you_mean("zzz", ["image_size"])
    ''
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean `{near[0]}`?" if near else ""


def choose(word: str, known: Iterable[str], what: str) -> str:
    """Return `word` if it is known, else raise `UsageError` listing what is.

    >>> choose("unet", ["unet", "segnet"], "model")
    'unet'
    """
    names = sorted(known)
    if word not in names:
        raise UsageError(f"No {what} is called `{word}`. Known: {', '.join(names)}.{did_you_mean(word, names)}")
    return word
