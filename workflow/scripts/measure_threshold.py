"""Measure the thresholds of `alom2020` against radiologists' masks; write the figures, and the tables of their page.

Run from the project's root: ``python workflow/scripts/measure_threshold.py`` (COVIDPIPE_DATA as everywhere; 2 minutes
on an idle core). The lungs are the radiologists', so that nothing but the threshold is judged. Settings were chosen by
the figures on medseg829; those on coronacases, another source, were seen and did not decide. All slices and films of
the data sets that show lung are used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from covidpipe.bias import FIGURES
from covidpipe.config import Harmonize, Threshold
from covidpipe.datasets import coronacases, cxr_lungs, medseg829
from covidpipe.harmonize import harmonize
from covidpipe.io.read import read_image, read_mask
from covidpipe.metrics.agreement import bias, concordance, mean_absolute_error
from covidpipe.metrics.intervals import PatientBootstrap
from covidpipe.metrics.segmentation import dice_of_counts, overlap
from covidpipe.quantify import infection_percent
from covidpipe.quantify.thresholds import adaptive_threshold
from covidpipe.records import ImageRecord

CHOSEN_ON, CONFIRMED_ON, FILMS = "medseg829", "coronacases", "cxr-lungs"
PARSERS = {CHOSEN_ON: medseg829, CONFIRMED_ON: coronacases, FILMS: cxr_lungs}
ONE_PATIENT = {"medseg829/2": "medseg829/3"}  # two volumes of one scan: docs/splits.md
DOCUMENT = Path("docs/threshold.md")
BEGIN, END = "<!-- {} -->", "<!-- end of {} -->"

# The variants that are offered, and what becomes of the chosen one when its numbers are moved.
VARIANTS: dict[str, Threshold] = {
    "`adaptive`, the paper's": Threshold(local="adaptive"),
    "`gaussian`": Threshold(local="gaussian"),
    "`otsu`": Threshold(local="otsu"),
    "`vessel_suppressed`": Threshold(local="vessel_suppressed"),
}
MOVED: dict[str, Threshold] = {
    "`vessel_radius_px: 2`": Threshold(local="vessel_suppressed", vessel_radius_px=2),
    "`vessel_radius_px: 4`": Threshold(local="vessel_suppressed", vessel_radius_px=4),
    "`regrow_px: 0`": Threshold(local="vessel_suppressed", regrow_px=0),
    "`regrow_px: 3`": Threshold(local="vessel_suppressed", regrow_px=3),
    "`erode_lung_px: 3`": Threshold(local="vessel_suppressed", erode_lung_px=3),
    "`min_object_px: 60`": Threshold(local="vessel_suppressed", min_object_px=60),
}


@dataclass(frozen=True)
class Judged:
    """One picture by one variant: percentages, and pixels in common, found and true."""

    patient: str
    found: float
    true: float | None
    counts: tuple[int, int, int] | None


def judge(root: Path, record: ImageRecord) -> list[Judged] | None:
    """One picture by every variant, as the pipeline does it; None if it shows no lung."""
    cv2.setNumThreads(1)
    image = read_image(root / record.path, modality=record.modality, intensity=record.intensity)
    assert record.lung_mask_path is not None and image.intensity is not None
    lung = read_mask(root / record.lung_mask_path)
    if not lung.any():
        return None
    truth = None if record.infection_mask_path is None else read_mask(root / record.infection_mask_path) & lung
    settings = Harmonize()
    grey, transform = harmonize(
        image.array, settings.source_size, intensity=image.intensity, window_hu=settings.window_hu
    )
    on_grid = transform.forward_mask(lung)
    rows = []
    for variant in (*VARIANTS.values(), *MOVED.values()):
        found = transform.to_native(adaptive_threshold(grey, on_grid, variant)) & lung
        percent = infection_percent(found, lung)
        assert percent is not None
        true = None if truth is None else infection_percent(truth, lung)
        counts = None if truth is None else overlap(found, truth)
        patient = record.patient or record.path
        rows.append(Judged(ONE_PATIENT.get(patient, patient), percent, true, counts))
    return rows


def measures(rows: list[Judged], lesion_free: list[Judged]) -> dict[str, Any]:
    """Agreement over slices that have a true mask, and what is found where there is nothing."""
    told: dict[str, Any] = {
        "images": len(rows),
        "patients": len({row.patient for row in rows}),
        "lesion_free": len(lesion_free),
        "percent_on_lesion_free": _rounded(np.mean([row.found for row in lesion_free]) if lesion_free else None),
    }
    if any(row.true is None for row in rows):
        return told
    pairs = np.array([(row.found, row.true) for row in rows], float)
    counts = np.array([row.counts for row in rows], np.int64)
    groups = np.array([row.patient for row in rows])
    again = PatientBootstrap(groups)
    both, found, true = (int(total) for total in counts.sum(axis=0))
    of_patients = [dice_of_counts(*map(int, counts[groups == name].sum(axis=0))) for name in np.unique(groups)]
    told |= {"dice_pooled": _rounded(dice_of_counts(both, found, true), 3)}
    told |= {"dice_mean_of_patients": _rounded(np.mean([dice for dice in of_patients if dice is not None]), 3)}
    for name, statistic in (("mean_absolute_error", mean_absolute_error), ("bias", bias)):
        told |= {name: _rounded(statistic(pairs))}
        interval = again.of_rows(pairs, statistic)
        told |= {f"{name}_95": None if interval is None else [_rounded(interval.low), _rounded(interval.high)]}
    return told | {"concordance": _rounded(concordance(pairs), 3)}


def _rounded(value: Any, digits: int = 2) -> float | None:
    return None if value is None else round(float(value), digits)


def measured(data: Path) -> list[dict[str, Any]]:
    """For each variant its settings and what was measured of it, by modality and data set."""
    variants = [*VARIANTS.items(), *MOVED.items()]
    told: list[dict[str, Any]] = [
        {"name": name, "settings": settings.model_dump(mode="json"), "measured": {"ct": {}, "xr": {}}}
        for name, settings in variants
    ]
    for name, parser in PARSERS.items():
        records = parser.records(data / name)
        if name == FILMS:
            records = [record for record in records if record.lesion_free]
        with ProcessPoolExecutor() as pool:
            judged = list(pool.map(judge, [data / name] * len(records), records, chunksize=8))
        for number, one in enumerate(told):
            rows = [found[number] for found in judged if found is not None]
            pairs = zip(records, judged, strict=True)
            free = [found[number] for record, found in pairs if found is not None and record.lesion_free]
            one["measured"]["xr" if name == FILMS else "ct"][name] = measures(rows, free)
    return told


def agreement_table(variants: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of the table of variants on both CT data sets."""
    yield "| variant | data | Dice, pooled | Dice, mean of patients | MAE | bias | CCC | found on lesion-free slices |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in variants:
        for name, found in one["measured"]["ct"].items():
            free = f"{found['percent_on_lesion_free']:.2f} %" if found["lesion_free"] else "no such slice"
            low, high = found["bias_95"]
            yield (
                f"| {one['name']} | {name} | {found['dice_pooled']:.3f} | {found['dice_mean_of_patients']:.3f} | "
                f"{found['mean_absolute_error']:.2f} | {found['bias']:+.2f} ({low:+.2f} to {high:+.2f}) | "
                f"{found['concordance']:.3f} | {free} |"
            )


def film_table(variants: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of the table of variants on films that show no lesion."""
    yield "| variant | films | found on them |"
    yield "|---|---|---|"
    for one in variants:
        found = one["measured"]["xr"][FILMS]
        yield f"| {one['name']} | {found['lesion_free']} | {found['percent_on_lesion_free']:.1f} % |"


def tables(variants: list[dict[str, Any]]) -> dict[str, str]:
    """The generated parts of docs/threshold.md, by name."""
    offered, moved = variants[: len(VARIANTS)], variants[len(VARIANTS) :]
    data = "; ".join(
        f"{name}: {found['images']} slices with lung, {found['patients']} patients, {found['lesion_free']} lesion-free"
        for name, found in offered[0]["measured"]["ct"].items()
    )
    lines = {"variants": agreement_table(offered), "moved": agreement_table(moved), "films": film_table(offered)}
    return {name: "\n".join(table) for name, table in lines.items()} | {"data": f"{data}."}


def written(document: str, parts: dict[str, str]) -> str:
    """`document` with each generated part between its marks replaced."""
    for name, text in parts.items():
        before, rest = document.split(BEGIN.format(name), 1)
        _, after = rest.split(END.format(name), 1)
        document = f"{before}{BEGIN.format(name)}\n{text}\n{END.format(name)}{after}"
    return document


def main() -> None:
    variants = measured(Path(os.environ.get("COVIDPIPE_DATA") or "../shared/data"))
    figures = {"source_size": Harmonize().source_size, "variants": variants}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    parts = tables(variants)
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), parts), encoding="utf-8")
    print(parts["variants"], parts["films"], sep="\n\n")


if __name__ == "__main__":
    main()
