"""TensorFlow, JAX and PyTorch give the same probabilities from the same weights."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from covidpipe.registry import MODELS

BACKENDS = {"jax": "jax", "torch": "torch"}  # compared with TensorFlow: backend and the module it needs


def answer(backend: str, folder: Path, size: str, *names: str) -> None:
    script = Path(__file__).with_name("answers.py")
    command = [sys.executable, str(script), str(folder), size, *names]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def tensorflow_answers(tmp_path_factory):
    """Folder with TensorFlow's answers and weights; each size is computed once."""

    @functools.cache
    def folder(size: str, *names: str) -> Path:
        made = tmp_path_factory.mktemp(size)
        answer("tensorflow", made, size, *names)
        return made

    return folder


def compare(folder: Path, backend: str, size: str, *names: str) -> dict[str, float]:
    """Largest difference of any probability from TensorFlow's, by model."""
    answer(backend, folder, size, *names)
    differences = {}
    for name in names:
        expected, found = (np.load(folder / f"{name}.{one}.npy") for one in ("tensorflow", backend))
        # On a softmax of plain zeros and ones any two networks would agree.
        assert ((expected > 0.01) & (expected < 0.99)).mean() > 0.1, f"{name} is saturated"
        differences[name] = float(np.abs(found - expected).max())
    return differences


def need(backend: str) -> None:
    if importlib.util.find_spec(BACKENDS[backend]) is None:
        pytest.skip(f"{BACKENDS[backend]} is not installed: `make check-backends` installs it")


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree_on_the_network_with_layers_of_our_own(backend, tensorflow_answers):
    need(backend)
    assert compare(tensorflow_answers("small", "cov_raseg"), backend, "small", "cov_raseg")["cov_raseg"] < 1e-4


@pytest.mark.full_size
@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree_on_every_network_at_full_width(backend, tensorflow_answers, capsys):
    need(backend)
    differences = compare(tensorflow_answers("full", *MODELS), backend, "full", *MODELS)
    with capsys.disabled():
        print(f"\nlargest difference between TensorFlow and {backend}:")
        for name, difference in differences.items():
            print(f"  {name:<20} {difference:.1e}")
    assert max(differences.values()) < 1e-4, differences
