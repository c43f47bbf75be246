"""Numbers as one would say them: counts, rates and times."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """So many of something.

    >>> counted(1, "patient"), counted(3, "image")
    ('1 patient', '3 images')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def per(rate: float) -> str:
    """A rate in the unit in which it is at least 1, or in hours.

    >>> per(3.21), per(0.2), per(0.001)
    ('3.2 a second', '12.0 a minute', '3.6 an hour')
    """
    for seconds, unit in ((1, "second"), (60, "minute")):
        if rate * seconds >= 1:
            return f"{rate * seconds:,.1f} a {unit}"
    return f"{rate * 3600:,.1f} an hour"


def duration(seconds: float) -> str:
    """A time.

    >>> duration(59.4), duration(300), duration(9000)
    ('59 s', '5 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
