"""Folds of a dataset, written only after they are proven free of leaks."""

from __future__ import annotations

from pathlib import Path

from covidpipe.config import Config
from covidpipe.errors import choose
from covidpipe.io.files import read_table, write_table
from covidpipe.registry import PROTOCOLS
from covidpipe.schemas import IMAGES, SPLIT
from covidpipe.splits import check_no_leak, grouped_folds, joined_groups, parts, random_folds


def run(config: Config, dataset: str, images: Path, protocol: str, out: Path) -> None:
    """Write the folds of the accepted images of a dataset.

    Parameters
    ----------
    config : Config
        ``folds`` and ``seed`` are used.
    dataset : str
    images : Path
        The dataset's ``images.parquet``.
    protocol : {"grouped", "published"}
        ``grouped`` keeps each patient, and all copies of an image, in one fold. ``published`` draws single images at
        random as the papers did; its groups are written all the same, so that what crosses can be counted.
    out : Path
        The table of folds.

    Raises
    ------
    BadTable
        There are fewer groups than folds.
    PatientLeak
        A group stands on both sides: never for folds made here, checked all the same.
    """
    choose(protocol, PROTOCOLS, "protocol")
    table = read_table(images, IMAGES)
    table = table.filter(table["accepted"])
    rows = table.select(["image_id", "patient_id", "pixel_sha256", "label"]).to_pydict()
    # What must stay together: a patient's images, and copies of an image under whatever name.
    first = joined_groups(rows["patient_id"], rows["pixel_sha256"])
    groups = [_group_name(rows["patient_id"][n], rows["image_id"][n]) for n in first]
    if protocol == "grouped":
        folds = grouped_folds(groups, [str(label) for label in rows["label"]], config.folds, config.seed)
        for fold in range(config.folds):
            check_no_leak(groups, parts(folds, fold, config.folds))
    else:
        folds = random_folds(len(table), config.folds, config.seed)
    write_table(
        out,
        [
            {"image_id": image_id, "group": group, "fold": int(fold)}
            for image_id, group, fold in zip(rows["image_id"], groups, folds, strict=True)
        ],
        SPLIT,
    )


def _group_name(patient_id: str | None, image_id: str) -> str:
    return f"patient {patient_id}" if patient_id is not None else f"image {image_id}"
