"""TensorFlow, JAX and PyTorch give the same probabilities from the same weights."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from covidpipe.registry import MODELS

BACKENDS = {"jax": "jax", "torch": "torch"}  # compared with TensorFlow: backend and the module it needs


def answers(backend: str, out: Path, size: str, *names: str) -> dict[str, np.ndarray]:
    script = Path(__file__).with_name("answers.py")
    command = [sys.executable, str(script), str(out), size, *names]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as found:
        return dict(found)


@functools.cache
def tensorflow_answers(size: str, *names: str) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        return answers("tensorflow", Path(folder) / "answers.npz", size, *names)


def compare(tmp_path: Path, backend: str, size: str, names: list[str]) -> dict[str, float]:
    """Largest difference of any probability from TensorFlow's, by model."""
    if importlib.util.find_spec(BACKENDS[backend]) is None:
        pytest.skip(f"{BACKENDS[backend]} is not installed: `make check-backends` installs it")
    expected = tensorflow_answers(size, *names)
    found = answers(backend, tmp_path / f"{backend}.npz", size, *names)
    # A network that answers the same everywhere would agree for nothing.
    assert all(np.ptp(expected[name]) > 1e-3 for name in names)
    return {name: float(np.abs(found[name] - expected[name]).max()) for name in names}


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree_on_the_network_with_layers_of_our_own(backend, tmp_path):
    assert compare(tmp_path, backend, "small", ["cov_raseg"])["cov_raseg"] < 1e-4


@pytest.mark.full_size
@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree_on_every_network_at_the_papers_size(backend, tmp_path, capsys):
    differences = compare(tmp_path, backend, "full", list(MODELS))
    with capsys.disabled():
        print(f"\nlargest difference between TensorFlow and {backend}:")
        for name, difference in differences.items():
            print(f"  {name:<20} {difference:.1e}")
    assert max(differences.values()) < 1e-4, differences
