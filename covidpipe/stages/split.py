"""Folds of a dataset, written only after they are proven free of leaks."""

from __future__ import annotations

import logging
from pathlib import Path

from covidpipe.config import Config
from covidpipe.errors import choose
from covidpipe.io.files import read_table, write_table
from covidpipe.registry import PROTOCOLS
from covidpipe.schemas import DUPLICATES, IMAGES, SPLIT
from covidpipe.splits import check_no_leak, group_name, grouped_folds, joined_groups, parts, published_folds

log = logging.getLogger(__name__)


def run(config: Config, dataset: str, images: Path, duplicates: Path, protocol: str, out: Path) -> None:
    """Write the folds of the accepted images of a dataset.

    They depend on the images and the seed alone: not on the order of the table, nor on the key of its hashes.

    Parameters
    ----------
    config : Config
        ``folds`` and ``seed`` are used.
    dataset : str
    images : Path
        The dataset's ``images.parquet``.
    duplicates : Path
        Its pairs of images that look alike (DUPLICATES).
    protocol : {"grouped", "published"}
        ``grouped`` keeps each patient, and all copies of an image, in one fold. ``published`` follows the authors'
        list where there is one (their test images are fold 0) and draws single images at random where there is none,
        as the papers did; its groups are written all the same, so that what crosses can be counted.
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
    table = read_table(images, IMAGES).sort_by("image_id")
    table = table.filter(table["accepted"])
    rows = table.select(["image_id", "patient_id", "pixel_sha256", "label", "published_part"]).to_pydict()
    image_ids, patients = rows["image_id"], rows["patient_id"]
    place = {image_id: n for n, image_id in enumerate(image_ids)}
    alike = read_table(duplicates, DUPLICATES).select(["image_id", "other_image_id"]).to_pydict()
    pairs = [(place[one], place[other]) for one, other in zip(*alike.values(), strict=True)]
    # What must stay together: a patient's images, and copies of an image under whatever name.
    first = joined_groups(patients, rows["pixel_sha256"], pairs=pairs)
    if protocol == "grouped":
        folds = grouped_folds(first, [str(label) for label in rows["label"]], config.folds, config.seed)
        for fold in range(config.folds):
            check_no_leak(first, parts(folds, fold, config.folds), image_ids)
    else:
        folds = published_folds(rows["published_part"], config.folds, config.seed)
    known = {patient for patient in patients if patient is not None}
    log.info("%s: %d images of %d known patients, %d groups", dataset, len(table), len(known), len(set(first)))
    write_table(
        out,
        [
            {
                "image_id": image_ids[n],
                "group": group_name(image_ids[first[n]], patients[first[n]] is not None),
                "fold": int(folds[n]),
                "protocol": protocol,
            }
            for n in range(len(image_ids))
        ],
        SPLIT,
    )
