"""Losses, and runs that survive, on every backend; and batches that two devices share."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.full_size

BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}  # and the module each needs


def found(backend: str, what: str, folder: Path) -> dict[str, np.ndarray]:
    if importlib.util.find_spec(BACKENDS[backend]) is None:
        pytest.skip(f"{BACKENDS[backend]} is not installed: `make check-backends` installs it")
    command = [sys.executable, str(Path(__file__).with_name("train_a_little.py")), str(folder / "found.npz"), what]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "found.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("backend", BACKENDS)
def test_losses_by_hand(backend, tmp_path):
    losses = {name: float(value[0]) for name, value in found(backend, "losses", tmp_path).items()}
    cross_entropy = -(3 * math.log(0.25) + 1 * math.log(0.5)) / 2 / 2  # divided by the mean weight
    dice = 1 - (2 * 0.25 + 1) / (0.75 + 1 + 1)
    wanted = {
        "cross_entropy": cross_entropy,
        "dice": dice,
        "cross_entropy_dice": cross_entropy + dice,
        "dice of nothing": 0.0,
        "labels": -(math.log(0.25) + math.log(0.5)) / 2,
    }
    assert losses == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_killed_training_ends_as_one_in_one_go(backend, tmp_path):
    arrays = found(backend, "resumed", tmp_path)
    losses = arrays["whole 0"][::2]
    assert losses[-1] < losses[0] - 0.05  # it has learned
    for name in (name for name in arrays if name.startswith("whole")):
        np.testing.assert_array_equal(arrays[name], arrays[name.replace("whole", "again")])


def test_two_devices_train_as_one_does(tmp_path):
    arrays = found("tensorflow", "shared", tmp_path)
    for name in (name for name in arrays if name.startswith("one")):
        np.testing.assert_allclose(arrays[name], arrays[name.replace("one", "two")], rtol=1e-4, atol=1e-5)
