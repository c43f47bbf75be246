"""One image's steps as a page: pictures cropped to the lungs, and the numbers of the table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from covidpipe import __version__
from covidpipe.config import Config
from covidpipe.inference.looking import GREY_LEVELS, Look
from covidpipe.registry import METHODS
from covidpipe.report import overlays, page
from covidpipe.report.body import without_writing
from covidpipe.schemas import INFECTION, REASONS

# Columns of `infection` that are told of each method, in this order.
TOLD = (
    "infection_percent",
    "infection_percent_low",
    "infection_percent_high",
    "lung_px",
    "infected_px",
    "lung_mm2",
    "infected_mm2",
    "right_lung_percent",
    "left_lung_percent",
    "lesion_count",
    "largest_lesion_mm2",
    "ggo_percent",
    "consolidation_percent",
    "covid_probability",
    "covid_positive",
    "reference_percentile",
    "qc_status",
    "split",
    "classifier_id",
    "lung_model_id",
    "infection_model_id",
    "pneumonia_probability",
    "pneumonia_positive",
    "pneumonia_model_id",
)
COLUMNS = {column.name: column for column in INFECTION.columns}


def render(
    config: Config,
    cohort: str,
    image: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    seen: Look | None,
    missing: str | None,
) -> str:
    """Write the page.

    Parameters
    ----------
    config : Config
    cohort : str
    image : dict
        Its row of `schemas.IMAGES`.
    rows : sequence of dict
        Its rows of `schemas.INFECTION`.
    seen : Look or None
    missing : str or None
        Why there are no pictures.

    Returns
    -------
    str
        One HTML document that loads nothing from anywhere.
    """
    style = page.source("report.css")
    shown = [row for row in rows if row["modality"] is None or row["modality"] in METHODS[row["method"]].roles]
    if seen is not None and not any(found.lung_mask.any() for found in seen.findings.values()):
        seen, missing = None, "No lung was found to crop the pictures to; what stands in the margins may name a person."
    return (
        page.environment()
        .get_template("case.html.j2")
        .render(
            cohort=cohort,
            image=image,
            style=style,
            style_hash=page.sha256(style),
            steps=[]
            if seen is None
            else [(group, list(some)) for group, some in groupby(steps(seen, config, image["modality"]), _group)],
            missing=missing,
            methods=[row["method"] for row in shown],
            numbers=[
                (name, column.text, column.unit, [_told(row[name]) for row in shown])
                for name, column in ((name, COLUMNS[name]) for name in TOLD)
                if any(row[name] is not None for row in shown)
            ],
            reasons=[(code, REASONS[code]) for code in sorted({code for row in shown for code in row["qc_reasons"]})],
            ramp=overlays.ramp_uri(),
            version=__version__,
        )
    )


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return page.number(value)
    return page.NOTHING if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def steps(seen: Look, config: Config, modality: str) -> list[dict[str, Any]]:
    """Pictures in the order of the work, each with what it shows: group, title, words, picture (a data URI)."""
    lung = next(iter(seen.findings.values())).lung_mask
    grey = without_writing(seen.grey, lung, modality)
    box = overlays.lung_box(lung)

    def plain(plane: np.ndarray) -> str:
        return overlays.data_uri(overlays.fitted(np.repeat(plane[box][..., None], 3, axis=2), overlays.SIDE_PX))

    def heat(plane: np.ndarray, where: np.ndarray | None = None) -> str:
        return overlays.data_uri(overlays.heat(grey, plane, lung, where))

    nothing = np.zeros_like(lung)
    found: list[dict[str, Any]] = [
        _step(
            "Image and lungs",
            "As it was read",
            "Brought to the common grid, its grey levels windowed.",
            plain(grey),
        ),
        _step(
            "Image and lungs",
            "Probability of lung",
            "What the network says of each pixel.",
            heat(seen.lung_probability),
        ),
        _step(
            "Image and lungs",
            "Lung mask",
            "Probabilities cut off, small parts dropped, holes filled.",
            overlays.data_uri(overlays.overlay(grey, lung, nothing)),
        ),
    ]
    if "khan2020" in seen.findings:
        one = seen.findings["khan2020"]
        assert one.covid_probability is not None
        heated = seen.heat("khan2020")
        if seen.enhanced is not None:
            words = "What the screening network saw, before it was made smaller."
            found.append(
                _step("khan2020", "Wavelet", words, plain(np.where(grey > 0, seen.enhanced, 0).astype(np.uint8)))
            )
        said = _said("COVID-19", one.covid_probability, seen)
        found += [
            _step("khan2020", f"Screened {_verdict(one.covid_positive)}", said, None),
            _step(
                "khan2020",
                "Probability of infection",
                "The network is not asked: screened negative."
                if heated is None
                else "What the network says of each pixel inside the lungs.",
                heated and heat(*heated),
            ),
            _step("khan2020", "Infection mask", *_mask(grey, one.lung_mask, one.infection_mask)),
        ]
    if "alom2020" in seen.findings:
        one, of_level = seen.findings["alom2020"], seen.heat("alom2020")
        assert of_level is not None
        found += [
            _step(
                "alom2020",
                f"Brighter than the threshold ({config.threshold.local.replace('_', ' ')})",
                f"By how many of 256 grey levels lung exceeds its level; yellow: {GREY_LEVELS} or more.",
                heat(*of_level),
            ),
            _step("alom2020", "Infection mask", *_mask(grey, one.lung_mask, one.infection_mask)),
        ]
        if one.pneumonia_probability is not None:
            said = _said("Pneumonia of any cause", one.pneumonia_probability, seen) + " Nothing else depends on it."
            found.append(_step("alom2020", f"Pneumonia: {_verdict(one.pneumonia_positive)}", said, None))
    if "fusion" in seen.findings:
        one = seen.findings["fusion"]
        words, picture = _mask(grey, one.lung_mask, one.infection_mask)
        said = "The mean of the network's probability and of the threshold's mask is a half or more. "
        found.append(_step("fusion", "Infection mask", said + words, picture))
    return found


def _verdict(positive: bool | None) -> str:
    return "positive" if positive else "negative"


def _said(disease: str, probability: float, seen: Look) -> str:
    return f"{disease} with probability {probability:.3f}; from {seen.screening_threshold:.3f} on it counts."


def _mask(grey: np.ndarray, lung: np.ndarray, infection: np.ndarray) -> tuple[str, str]:
    share = 100 * int((infection & lung).sum()) / max(int(lung.sum()), 1)
    words = f"{page.percent(share)} % of the lung on this grid; the table counts on the file's own."
    return words, overlays.data_uri(overlays.overlay(grey, lung, infection))


def _group(step: dict[str, Any]) -> str:
    return step["group"]


def _step(group: str, title: str, words: str, picture: str | None) -> dict[str, Any]:
    return {"group": group, "title": title, "words": words, "picture": picture}
