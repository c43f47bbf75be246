"""How a picture lies: which way its columns and rows run through the patient, and how it is turned to one standard.

A direction is a letter of DICOM's PatientOrientation (PS3.3, C.7.6.1.1.1): L left, R right, A anterior, P posterior,
H head, F feet, always the patient's own. An orientation is two of them with a backslash: where the columns run to (from
left to right on the screen), then where the rows run to (from top to bottom). All pictures are brought to that of a
radiologist's screen, ``L\\P`` for axial slices and ``L\\F`` for frontal films, so the patient's right is on the left.
Turning by right angles and mirroring move pixels and change none: whatever is counted is counted of stored pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AXIAL, FRONTAL = "L\\P", "L\\F"
AXES = {"L": "x", "R": "x", "A": "y", "P": "y", "H": "z", "F": "z"}
TOWARDS = {"x": ("R", "L"), "y": ("A", "P"), "z": ("F", "H")}  # down and up the axes of DICOM's patient coordinates


def of_words(words: Sequence[str]) -> str | None:
    """The orientation that PatientOrientation states, by the first letter of each value; None if it states none.

    >>> of_words(["L", "PH"]), of_words(["R", "F"]), of_words([""]), of_words(["L", "R"])
    ('L\\\\P', 'R\\\\F', None, None)
    """
    letters = [str(word).strip().upper()[:1] for word in words]
    if len(letters) != 2 or any(letter not in AXES for letter in letters):
        return None
    return "\\".join(letters) if AXES[letters[0]] != AXES[letters[1]] else None


def of_cosines(cosines: Sequence[float]) -> str | None:
    """The orientation that ImageOrientationPatient states: of each direction the axis that it is nearest to.

    Parameters
    ----------
    cosines : six numbers
        Where the columns run to, then where the rows run to, in patient coordinates (x left, y posterior, z head).

    Returns
    -------
    str or None
        None if these are no two directions at a right angle.

    Examples
    --------
    >>> of_cosines([1, 0, 0, 0, 1, 0]), of_cosines([-1, 0, 0, 0, -1, 0]), of_cosines([0, 1, 0, 1, 0, 0])
    ('L\\\\P', 'R\\\\A', 'P\\\\L')
    """
    across, down = np.asarray(cosines[:3], float), np.asarray(cosines[3:], float)
    long = float(np.linalg.norm(across) * np.linalg.norm(down))
    if not 0.5 < long < 2 or abs(float(across @ down)) > 0.1 * long:
        return None
    # the two together, not one by one: both may be nearest to the same axis
    pairs = [(first, second) for first in range(3) for second in range(3) if first != second]
    first, second = max(pairs, key=lambda pair: abs(across[pair[0]]) + abs(down[pair[1]]))
    return "\\".join(
        TOWARDS["xyz"[axis]][int(direction[axis] > 0)] for axis, direction in ((first, across), (second, down))
    )


def standard_of(orientation: str) -> str | None:
    """The standard that a picture of this orientation is turned to, or None for a view from the side.

    >>> standard_of("P\\\\R"), standard_of("R\\\\F"), standard_of("A\\\\F")
    ('L\\\\P', 'L\\\\F', None)
    """
    axes = {AXES[letter] for letter in orientation.split("\\")}
    return {"xy": AXIAL, "xz": FRONTAL}.get("".join(sorted(axes)))


def is_turned(orientation: str) -> bool:
    """True if rows become columns on the way to the standard.

    >>> is_turned("P\\\\L"), is_turned("R\\\\A")
    (True, False)
    """
    standard = standard_of(orientation)
    return standard is not None and AXES[orientation[0]] != AXES[standard[0]]


def to_standard(picture: NDArray, orientation: str) -> NDArray:
    """A stored picture as the radiologist sees it; one from the side stays as it is.

    Parameters
    ----------
    picture : ndarray, (rows, columns)
    orientation : str

    Returns
    -------
    ndarray
        A view: (rows, columns), or (columns, rows) if `is_turned`.

    Examples
    --------
    >>> to_standard(np.array([["left", "right"]]), "R\\\\P").tolist()
    [['right', 'left']]
    """
    return (picture.T if is_turned(orientation) else picture)[_mirrored(orientation)]


def to_stored(picture: NDArray, orientation: str) -> NDArray:
    """A picture or mask in standard orientation as its file stores it: undoes `to_standard`.

    >>> to_stored(to_standard(np.arange(6).reshape(2, 3), "P\\\\R"), "P\\\\R").tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    picture = picture[_mirrored(orientation)]
    return picture.T if is_turned(orientation) else picture


def _mirrored(orientation: str) -> tuple[slice, slice]:
    """What mirrors rows and columns where they run against the standard, once they are rows and columns."""
    standard = standard_of(orientation) or orientation
    across, down = (orientation[::-1] if is_turned(orientation) else orientation).split("\\")
    return slice(None, None, 1 if down == standard[-1] else -1), slice(None, None, 1 if across == standard[0] else -1)
