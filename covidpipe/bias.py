"""How wrong the threshold of `alom2020` is: what was measured against radiologists' masks, to be printed beside it.

The figures are those that workflow/scripts/measure_threshold.py wrote to covidpipe/io/threshold_bias.json; none is
typed by hand.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from covidpipe.config import Config

FIGURES = Path(__file__).parent / "io" / "threshold_bias.json"


def measured_bias(config: Config) -> dict[str, Any] | None:
    """What was measured of the very threshold of a config, on its grid, or None if nothing was.

    Parameters
    ----------
    config : Config

    Returns
    -------
    dict or None
        ``ct`` and ``xr``: one dict for each data set, with the measures of workflow/scripts/measure_threshold.py.
    """
    measured = _measured()
    if config.harmonize.source_size != measured["source_size"]:
        return None
    wanted = config.threshold.model_dump(mode="json")
    return next((one["measured"] for one in measured["variants"] if one["settings"] == wanted), None)


def bias_text(config: Config, modality: str) -> str:
    """In words, how wrong the threshold is: to be printed wherever its percentages are.

    Parameters
    ----------
    config : Config
    modality : {"ct", "xr"}

    Examples
    --------
    >>> bias_text(Config(threshold={"offset": 7}), "ct")[:51]
    'How much infection these threshold settings find in'
    """
    measured = measured_bias(config)
    if measured is None:
        return (
            "How much infection these threshold settings find in healthy lungs was not measured; "
            "workflow/scripts/measure_threshold.py measures it."
        )
    sentence = _on_films if modality == "xr" else _on_slices
    return " ".join(sentence(name, found) for name, found in measured[modality].items())


def _on_films(name: str, found: dict[str, Any]) -> str:
    return (
        f"On {found['lesion_free']} films without a known lesion ({name}) the threshold marks "
        f"{found['percent_on_lesion_free']:.0f} % of the lung: on X-rays its percentage tells nothing without such a "
        "baseline."
    )


def _on_slices(name: str, found: dict[str, Any]) -> str:
    said = (
        f"Inside radiologists' lung masks ({name}, {found['images']} slices of {found['patients']} patients) the "
        f"threshold is {abs(found['bias']):.1f} points too {'high' if found['bias'] > 0 else 'low'} on average and "
        f"{found['mean_absolute_error']:.1f} points off on a slice"
    )
    if not found["lesion_free"]:
        return f"{said}."
    return (
        f"{said}; it finds {found['percent_on_lesion_free']:.1f} % on {found['lesion_free']} slices without a lesion."
    )


@functools.cache
def _measured() -> dict[str, Any]:
    return json.loads(FIGURES.read_text(encoding="utf-8"))
