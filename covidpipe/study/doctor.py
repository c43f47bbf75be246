"""What this machine can do, and what to change: every finding that is not well names its remedy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from covidpipe import __version__
from covidpipe.cluster import faults, slurm
from covidpipe.cluster.preflight import LEAST_FREE_GIB, MARKS, Finding
from covidpipe.config import Config
from covidpipe.cores import available_cores
from covidpipe.errors import BadConfig, CovidpipeError
from covidpipe.registry import DATASETS, SHIPPED

LEAST_MEMORY_GIB = 4.0  # a shard of 512 slices with both methods: 2.5 GiB at its peak
# Compressed DICOM as scanners and archives write it: transfer syntax and name.
COMPRESSED = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.51": "12-bit JPEG",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE",
}


def run(*, as_json: bool = False) -> list[Finding]:
    """Look around and print what is found.

    Raises
    ------
    CovidpipeError
        Something keeps covidpipe from running here.
    """
    found = list(examine())
    wrong = [finding for finding in found if finding.status == "wrong"]
    if as_json:
        import json

        print(json.dumps({"ready": not wrong, "findings": [asdict(finding) for finding in found]}, indent=2))
    else:
        for finding in found:
            print(f"{MARKS[finding.status]}  {finding.what}: {finding.told}")
    if wrong:
        raise CovidpipeError(f"not ready: {', '.join(finding.what for finding in wrong)}. What to change stands above.")
    if not as_json:
        print("covidpipe can work here.")
    return found


def examine(config: Config | None = None) -> Iterator[Finding]:
    """Everything that is looked at, one finding after the other; TensorFlow is imported for it (4 s).

    Parameters
    ----------
    config : Config, optional
        Where images are looked for. Default: as without a config.
    """
    told = f"covidpipe {__version__}, Python {platform.python_version()} in {sys.prefix}"
    told += f", snakemake {importlib.metadata.version('snakemake')}"
    yield Finding("ok", "environment", told)
    yield cores()
    yield memory(*_memory_gib())
    yield _disk()
    yield gpu()
    yield engines()
    yield decoders()
    yield weights()
    yield _key()
    yield images(config or Config())
    yield _slurm()


def cores() -> Finding:
    """The cores that may be used."""
    number = available_cores()
    if number == 1:
        return Finding("warning", "cores", "one: it works, slowly. Give a job more, or let more be used")
    return Finding("ok", "cores", f"{number} may be used; `--cores N` takes fewer")


def memory(total_gib: float, limit_gib: float | None) -> Finding:
    """Memory of the machine, or the least that a container or a job allows.

    Parameters
    ----------
    total_gib : float
    limit_gib : float or None
        Of the control group, if it has one.

    Examples
    --------
    >>> memory(64.0, 2.0).told
    '2.0 GiB of 64.0 (limited by a container or a job): give it at least 4 GiB, or lower `shard_images`'
    """
    usable = total_gib if limit_gib is None else min(total_gib, limit_gib)
    told = f"{usable:.1f} GiB"
    if usable < total_gib:
        told += f" of {total_gib:.1f} (limited by a container or a job)"
    if usable < LEAST_MEMORY_GIB:
        return Finding(
            "warning", "memory", f"{told}: give it at least {LEAST_MEMORY_GIB:.0f} GiB, or lower `shard_images`"
        )
    return Finding("ok", "memory", told)


def _memory_gib() -> tuple[float, float | None]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            said = Path(file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if said.isdigit():
            return total, int(said) / 2**30
    return total, None


def _disk() -> Finding:
    free = faults.free_bytes(Path())
    gib = 0.0 if free is None else free / 2**30
    if gib < LEAST_FREE_GIB:
        told = f"{gib:.1f} GiB free here: make room, or write results to a larger disk (`--out`, or `results`)"
        return Finding("warning", "disk", told)
    return Finding("ok", "disk", f"{gib:.1f} GiB free here")


def gpu() -> Finding:
    """What the networks are computed on."""
    listed = slurm.ask("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader") or ""
    try:
        import tensorflow as tf
    except ImportError as error:
        told = f"TensorFlow cannot be imported ({error}): build the environment again with `make env`"
        return Finding("wrong", "GPU", told)
    seen = len(tf.config.list_physical_devices("GPU"))
    names = "; ".join(listed.splitlines())
    if seen:
        return Finding("ok", "GPU", f"{names or seen}, seen by TensorFlow {tf.__version__}")
    if listed:
        told = f"{names}, but TensorFlow {tf.__version__} sees none: "
        if tf.test.is_built_with_cuda():
            told += "its CUDA libraries do not fit the driver"
        else:
            told += "`make env LOCK=envs/gpu.lock` builds for GPUs"
        return Finding("warning", "GPU", told)
    return Finding("ok", "GPU", "none; networks run on the cores: fine for a cohort, slow for training in full size")


def engines() -> Finding:
    """What can compute cohorts here (config `engine`)."""
    from covidpipe.inference import engine, openvino

    if not openvino.installed():
        told = "keras; the package openvino is missing: build the environment again with `make env`"
        return Finding("warning", "engines", told)
    told = f"`engine: auto` takes {engine.choose('auto')} here; there are keras, openvino"
    native = openvino.bfloat16_instructions()
    told += f", openvino_bf16 ({', '.join(native)})" if native else "; not openvino_bf16, for want of instructions"
    return Finding("ok", "engines", told)


def decoders() -> Finding:
    """Which compressed DICOM can be read."""
    from pydicom.pixels import get_decoder

    missing = [name for uid, name in COMPRESSED.items() if not get_decoder(uid).is_available]
    if missing:
        told = f"none for {', '.join(missing)}: build the environment again with `make env`"
        return Finding("warning", "DICOM decoders", told)
    return Finding("ok", "DICOM decoders", ", ".join(COMPRESSED.values()))


def weights() -> Finding:
    """Whether the networks that come along are whole."""
    from covidpipe.io.files import file_sha256, read_json
    from covidpipe.provenance import PACKAGE

    names, broken = list(SHIPPED), []
    for name in names:
        folder = PACKAGE / "weights" / name
        try:
            wanted = read_json(folder / "run.json")["weights_sha256"]
            if file_sha256(folder / "model.keras") != wanted:
                broken.append(name)
        except (OSError, ValueError, KeyError):
            broken.append(name)
    if broken:
        return Finding(
            "wrong", "networks", f"{', '.join(broken)}: missing or damaged; get this copy of covidpipe again"
        )
    return Finding("ok", "networks", f"{', '.join(names)} are whole")


def _key() -> Finding:
    from covidpipe.provenance import id_key, id_key_file

    path = id_key_file()
    if not path.exists():
        if os.access(_first_there(path), os.W_OK):
            told = (
                f"will be made at {path} on first use; keep it secret, and keep it: it ties patients of runs together"
            )
            return Finding("ok", "key for identifiers", told)
        told = f"{path} cannot be made: set COVIDPIPE_ID_KEY to a file in a folder you can write"
        return Finding("wrong", "key for identifiers", told)
    try:
        id_key()
    except BadConfig as error:
        return Finding("wrong", "key for identifiers", str(error))
    return Finding("ok", "key for identifiers", f"{path}; keep it secret")


def _first_there(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def images(config: Config) -> Finding:
    """The declared datasets, which only training and the papers need."""
    there = [name for name in DATASETS if config.source_root(name).exists()]
    folder = config.data_folder()
    if there:
        return Finding("ok", "datasets", f"{', '.join(there)} in {folder}")
    told = f"none in {folder}; cohorts do not need any. For training set COVIDPIPE_DATA, or `data` in a config"
    return Finding("ok", "datasets", told)


def _slurm() -> Finding:
    if shutil.which("sbatch") is None:
        return Finding("ok", "SLURM", "none; everything runs on this machine")
    kinds = slurm.ask("sinfo", "--noheader", "-o", "%P %l %G")
    if not kinds:
        return Finding("warning", "SLURM", "sbatch is there, but sinfo does not answer: ask your administrators")
    told = "; ".join(" ".join(line.split()) for line in kinds.splitlines())
    return Finding("ok", "SLURM", f"{told}. Try it: `snakemake --profile slurm preflight`")
