"""Where a result comes from: code fingerprints, run records, seeds and keyed identifiers."""

from __future__ import annotations

import ast
import contextlib
import ctypes
import functools
import hashlib
import hmac
import os
import platform
import secrets
import shlex
import stat
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from covidpipe import __version__
from covidpipe.cores import available_cores
from covidpipe.errors import BadConfig
from covidpipe.schemas import TABLES
from covidpipe.words import counted

PACKAGE = Path(__file__).parent

# Plumbing: an edit here changes no number. What it could change (settings, columns) reaches a rule's params in
# another way: settings by value, tables by their own fingerprint.
PLUMBING = {
    "covidpipe",
    "covidpipe.cli",
    "covidpipe.config",
    "covidpipe.errors",
    "covidpipe.paths",
    "covidpipe.progress",
    "covidpipe.provenance",
    "covidpipe.registry",
    "covidpipe.schemas",
    "covidpipe.workflow",
}

# The tables each stage writes.
STAGE_TABLES: dict[str, tuple[str, ...]] = {
    "phantoms": (),
    "ingest": ("images", "signatures", "shards"),
    "duplicates": ("duplicates",),
    "split": ("split",),
    "apart": (),
    "leakage": (),
    "harmonize": ("store_index",),
    "wavelet": ("store_index",),
    "lung_view": ("store_index",),
    "train": ("history",),
    "evaluate": ("metrics_images", "metrics_summary", "reliability"),
    "predict": ("mask_index",),
    "reference": (),
    "conformal": (),
    "quantify": ("infection",),
    "collect": ("infection", "patients", "rejected", "summary"),
    "score": ("metrics_images", "metrics_summary"),
    "report": (),
    "study": (),
    "checks": ("paper_checks",),
    "frames": ("paper_frames",),
    "paper": ("paper_table",),
    "leaderboard": ("leaderboard",),
}


def code_fingerprint(stage: str, *also: str) -> str:
    """Hash of the source of every module that a stage imports, directly or not, and of the tables it writes.

    Snakemake does not see edits of an imported package; with this in a rule's params, editing a stage's code reruns
    that stage and no other.

    Parameters
    ----------
    stage : str
        A module of ``covidpipe.stages``.
    *also : str
        Modules that the stage finds by name at run time, such as one architecture.
    """
    digest = hashlib.sha256()
    for module in sorted(_reachable((f"covidpipe.stages.{stage}", *also))):
        digest.update(module.encode() + b"\0" + _source(module).read_bytes())
        for data in _data(module):
            digest.update(data.name.encode() + b"\0" + data.read_bytes())
    for table in STAGE_TABLES[stage]:
        digest.update(TABLES[table].fingerprint().encode())
    return digest.hexdigest()[:16]


def _reachable(start: tuple[str, ...]) -> set[str]:
    seen: set[str] = set()
    todo = list(start)
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo.extend(_imports(module))
    return seen


@functools.cache
def _imports(module: str) -> tuple[str, ...]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(_source(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(m for m in found if m.startswith("covidpipe.") and m not in PLUMBING and _source(m).exists())


def _data(module: str) -> list[Path]:
    """Data files of the package that a module reads by name: coefficients, templates, styles."""
    source = _source(module)
    text = source.read_text(encoding="utf-8")
    beside = [p for p in source.parent.rglob("*") if p.suffix in (".json", ".j2", ".css", ".js")]
    return sorted(path for path in beside if f'"{path.name}"' in text)


def _source(module: str) -> Path:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def run_record(stage: str, *, seed: int, started: float, **facts: Any) -> dict[str, Any]:
    """The birth certificate that is written as ``run.json`` beside a result.

    Parameters
    ----------
    stage : str
    seed : int
    started : float
        ``time.time()`` at the start.
    **facts
        What else is worth knowing: settings, device, data hash.
    """
    packages = ("keras", "tensorflow-cpu", "tensorflow", "numpy", "pyarrow", "pydicom", "zarr", "snakemake")
    return {
        "covidpipe": __version__,
        "stage": stage,
        "commit": commit(),
        "code": code_fingerprint(stage),
        "command": " ".join(["covidpipe", *sys.argv[1:]]),
        "seed": seed,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: _version(name) for name in packages if _version(name)},
        "wall_seconds": round(time.time() - started, 1),
        **facts,
    }


@functools.cache
def commit() -> str | None:
    """The commit that this code is at, with a ``+`` where the package's files are not those of it.

    None where nothing tells: an installed package has no history, and a machine may have no git. What the code is,
    its fingerprint tells everywhere.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(PACKAGE.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != PACKAGE.parent.resolve():
            return None  # of another project, with this one somewhere inside
        changed = git("status", "--porcelain", "--", PACKAGE.name)
        return git("rev-parse", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def prepare_backend(seed: int) -> None:
    """Seed everything and bind the Keras backend to what this process was given, before a training."""
    import keras

    bind_backend()
    keras.utils.set_random_seed(seed)


def bind_backend() -> None:
    """Bind the Keras backend to what this process was given: the only place where this is done.

    TensorFlow gets the cores of `available_cores`, grows its GPU memory as needed, and computes repeatably.
    """
    import keras

    _keep_freed_memory()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # RuntimeError: TensorFlow runs already, such as after a training in the same process; its threads then stay
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(available_cores())
            # One operation at a time, on all cores: nothing then depends on which of two ends first.
            tf.config.threading.set_inter_op_parallelism_threads(1)
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.experimental.enable_op_determinism()


def _keep_freed_memory() -> None:
    """Let glibc reuse a step's tensors in the next one: giving them back costs a quarter of the time on a CPU."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        libc.mallopt(m_trim_threshold, 2**30)
        libc.mallopt(m_mmap_max, 0)


def cores_in_words() -> str:
    """The cores that this process may use, such as ``2 CPU cores``."""
    return counted(available_cores(), "CPU core")


def device_name() -> str:
    """What networks are computed on: the names of the Keras backend's GPUs, or the cores this process may use."""
    if "keras" not in sys.modules:
        return cores_in_words()
    import keras

    names: list[str] = []
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            names.append(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    elif keras.backend.backend() == "jax":
        import jax

        names = [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    elif keras.backend.backend() == "torch":
        import torch

        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if not names:
        return cores_in_words()
    return ", ".join(f"{names.count(name)} x {name}" for name in sorted(set(names)))


def id_key_file() -> Path:
    """Where the key for identifiers is, or will be."""
    return _id_key_file(*map(os.environ.get, ("COVIDPIPE_ID_KEY", "XDG_CONFIG_HOME", "HOME")))


@functools.lru_cache(maxsize=4)  # asked for with every sealed path
def _id_key_file(named: str | None, config_home: str | None, home: str | None) -> Path:
    folder = Path(config_home) if config_home else Path(home or Path.home()) / ".config"
    return Path(named) if named else folder / "covidpipe" / "id.key"


def id_key() -> bytes:
    """The secret that turns identifiers into hashes; made on first use, readable by its owner only.

    ``COVIDPIPE_ID_KEY`` names the file; the default is ``covidpipe/id.key`` in the user's config folder. The same key
    gives the same patient the same hash in every cohort; without the key nobody can try names against the hashes.
    """
    path = id_key_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_hex(32).encode())
            with contextlib.suppress(FileExistsError):  # another process was first: its key stands
                os.link(partial, path)
            partial.unlink()
        key = path.read_bytes()
        open_to = stat.S_IMODE(path.stat().st_mode) & 0o077
    except OSError as error:
        raise BadConfig(
            f"The key for identifiers cannot be read or made at {path}: {error.strerror}. "
            "Set COVIDPIPE_ID_KEY to a file in a folder you can write."
        ) from None
    if open_to:
        raise BadConfig(
            f"The key for identifiers at {path} can be read by others than its owner, who could then try names against "
            f"the hashes: `chmod 600 {shlex.quote(str(path))}`."
        )
    if len(key) < 16:
        raise BadConfig(f"The key for identifiers at {path} is shorter than 16 bytes: delete it to make a new one.")
    return key


def keyed_hash(kind: str, *parts: str, key: bytes) -> str:
    """Return a 16-digit hash of an identifier, such as ``keyed_hash("patient", "MISTER^CT", key=key)``.

    >>> keyed_hash("patient", "a", key=b"0" * 32) == keyed_hash("study", "a", key=b"0" * 32)
    False
    """
    message = "\0".join((kind, *parts)).encode("utf-8", "surrogateescape")
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:16]
