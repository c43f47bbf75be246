"""How severe the involvement of the lungs is, in published classes of percent."""

from __future__ import annotations

from covidpipe.registry import SEVERITY


def severity_class(percent: float | None) -> str | None:
    """The class of a patient's infection percentage.

    Pan et al. 2020 (doi:10.1148/radiol.2020200370) score each lobe from 0 to 5 by the share that is involved. Here the
    two lungs are scored together, because lobes are not told. Their classes are of whole percents; what lies between
    25 and 26 or 49 and 50 is in the class 26-49 (our reading).

    Parameters
    ----------
    percent : float, optional
        Of a patient's lungs, 0 to 100; that of a single slice has no such class.

    Returns
    -------
    str or None
        One of `covidpipe.registry.SEVERITY`, whose place is the score; None for None.

    Examples
    --------
    >>> [severity_class(percent) for percent in (0.0, 0.1, 5.0, 25.0, 25.5, 49.9, 50.0, 75.0, 75.1)]
    ['0', '<5', '5-25', '5-25', '26-49', '26-49', '50-75', '50-75', '>75']
    >>> severity_class(None) is None
    True
    """
    if percent is None:
        return None
    none, below_5, to_25, below_50, to_75, above = SEVERITY
    if percent == 0:
        return none
    if percent < 5:
        return below_5
    if percent <= 25:
        return to_25
    if percent < 50:
        return below_50
    return to_75 if percent <= 75 else above
