"""One shard of a cohort: images in, lung and infection masks of every method out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.bias import bias_text
from covidpipe.config import Config
from covidpipe.harmonize import Transform
from covidpipe.inference import methods
from covidpipe.inference.agreement import agreed
from covidpipe.inference.cohorts import applicable_methods, findings, load_networks
from covidpipe.inference.engine import LoadedModel
from covidpipe.inference.methods import Finding
from covidpipe.io.files import write_json
from covidpipe.io.shards import read_shard
from covidpipe.io.sources import image_root
from covidpipe.io.store import Block, creating
from covidpipe.progress import track
from covidpipe.provenance import device_name, run_record
from covidpipe.registry import METHODS
from covidpipe.schemas import MASK_INDEX

log = logging.getLogger(__name__)

STORE_SHARD = 1024  # masks of one file: of a shard of 512 images by two methods, all
MASKS = ("lung_mask", "infection_mask")


def run(config: Config, cohort: str, images: Path, shard: int, out: Path) -> None:
    """Write ``masks.zarr``, ``index.parquet`` and ``run.json`` of one shard to the folder `out`.

    There is one entry for each accepted image and method that applies to it. An image that can no longer be read has
    empty masks and the reason ``unreadable``.

    Parameters
    ----------
    config : Config
    cohort : str
    images : Path
        The cohort's ``images.parquet``.
    shard : int
        From 0; rows ``shard * shard_images`` and following.
    out : Path

    Raises
    ------
    CovidpipeError
        A network that the config names is missing or damaged, or finds in bfloat16 what Keras does not find.
    """
    started = time.time()
    table = read_shard(images, shard, config.shard_images)
    rows = table.filter(table["accepted"]).to_pylist()
    root = image_root(config.source_root(cohort), images.parent / "unpacked")
    wanted = applicable_methods(config, config.cohort_methods(cohort))
    networks = load_networks(config, {row["modality"] for row in rows}, wanted, optional=True)
    agreement = agreed(cohort, images, root, wanted, networks, config)
    size, _ = methods.common_grid(config)

    index: list[dict[str, Any]] = []
    packed: list[dict[str, np.ndarray]] = []  # one bit a pixel: a whole shard waits here until its index is known
    for row, found in track(findings(rows, root, wanted, networks, config), len(rows)):
        for method, finding in found.items():
            index.append(_index_row(len(index), row, method, finding, size, networks[row["modality"]]))
            packed.append({name: np.packbits(getattr(finding, name)) for name in MASKS})

    arrays = dict.fromkeys(MASKS, (size, size))
    with creating(out, "masks.zarr", index, MASK_INDEX, arrays, len(index), STORE_SHARD) as writer:
        for number in range(writer.shards):
            writer.write(number, _unpack([packed[n] for n in writer.positions(number)], size))
        record = run_record(
            "predict",
            seed=config.seed,
            started=started,
            device=device_name(),
            cohort=cohort,
            shard=shard,
            threshold_bias={
                modality: bias_text(config, modality) for modality in networks if "alom2020" in wanted[modality]
            },
            engines=sorted({network.engine for of_task in networks.values() for network in of_task.values()}),
            agreement=[asdict(one) for one in agreement],
            models={
                modality: {task: network.model_id for task, network in of_task.items()}
                for modality, of_task in networks.items()
            },
        )
        write_json(writer.folder / "run.json", record)
    seconds = time.time() - started
    log.info("%s, shard %d: %d images, %d pairs of masks, %.1f s", cohort, shard, len(rows), len(index), seconds)


def _index_row(
    n: int, row: dict[str, Any], method: str, finding: Finding, size: int, networks: Mapping[str, LoadedModel]
) -> dict[str, Any]:
    told = {field.name: getattr(finding, field.name) for field in fields(finding) if field.name not in MASKS}
    used = [networks[task] for task in METHODS[method].asks(row["modality"]) if task in networks]
    return {
        "n": n,
        "image_id": row["image_id"],
        "method": method,
        **Transform.fit(row["rows"], row["columns"], size).as_dict(),
        **told,
        "split": methods.worst_part(row["source_sha256"], used),
    }


def _unpack(packed: list[dict[str, np.ndarray]], size: int) -> Block:
    return {
        name: np.stack([np.unpackbits(masks[name], count=size * size).reshape(size, size) for masks in packed])
        for name in MASKS
    }
