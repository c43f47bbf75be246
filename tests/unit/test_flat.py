"""Images in one uncompressed file, read out of a store piece by piece."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covidpipe.errors import CovidpipeError
from covidpipe.io.flat import FlatImages
from covidpipe.training.labelled import read_labelled


class Store:
    """Stands in for a store: images that tell their position, masks of which every third is empty."""

    def __init__(self, n: int):
        self.image = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8)
        self.lung_mask = ((np.arange(n) % 3 > 0) * 255).astype(np.uint8)[:, None, None] * np.eye(4, 5, dtype=np.uint8)
        self.asked = []

    def read(self, name, positions):
        self.asked.append(len(positions))
        return getattr(self, name)[positions]


def rows(n: int) -> pd.DataFrame:
    labels = pd.array([i % 2 == 0 for i in range(n)], "boolean")
    return pd.DataFrame({"n": np.arange(n)[::-1], "group": [f"p{i}" for i in range(n)], "label": labels})


def test_images_come_in_the_order_asked_for_and_from_any_thread(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (20, 4, 5), dtype=np.uint8)
    flat = FlatImages(tmp_path, images.shape)
    flat.append(images[:13])
    flat.append(images[13:])
    np.testing.assert_array_equal(flat[[19, 0, 7, 7]], images[[19, 0, 7, 7]])
    np.testing.assert_array_equal(flat[15:99], images[15:])
    assert flat[[]].shape == (0, 4, 5) and len(flat) == 20
    with ThreadPoolExecutor(8) as pool:
        for i, found in enumerate(pool.map(lambda i: flat[[i % 20]][0], range(200))):
            np.testing.assert_array_equal(found, images[i % 20])


def test_nothing_is_left_on_the_disk(tmp_path):
    flat = FlatImages(tmp_path, (1, 2, 2))
    flat.append(np.ones((1, 2, 2), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(CovidpipeError, match=r"wanted 1\.9 GiB for 2000 .*images of 1000 x 1000, found 0\.0 GiB free"):
        FlatImages(tmp_path, (2000, 1000, 1000))


def test_masks_are_read_a_piece_at_a_time_and_counted_on_the_way(tmp_path):
    store, index = Store(10), rows(10)
    part = read_labelled(store, index, "segment_lungs", tmp_path, piece=4)
    assert store.asked == [4, 4, 4, 4, 2, 2]
    np.testing.assert_array_equal(part.images[:10], store.image[::-1])
    np.testing.assert_array_equal(part.truth[:10], store.lung_mask[::-1] > 0)
    assert part.positive.tolist() == [(9 - i) % 3 > 0 for i in range(10)]
    assert part.foreground == pytest.approx((store.lung_mask > 0).mean())
    same = read_labelled(store, index, "segment_lungs", tmp_path, piece=4)
    other = read_labelled(store, index.iloc[::-1], "segment_lungs", tmp_path, piece=4)
    assert part.sha256 == same.sha256 != other.sha256


def test_labels_stay_in_memory(tmp_path):
    store = Store(5)
    part = read_labelled(store, rows(5), "classify", tmp_path)
    assert part.truth.tolist() == [1, 0, 1, 0, 1] and part.positive.tolist() == [True, False, True, False, True]
    images = store.image[::-1]
    assert part.sha256 == hashlib.sha256(images.tobytes() + part.truth.tobytes()).hexdigest()


def test_reading_can_be_stopped_between_pieces(tmp_path):
    calls = []

    def stop():
        calls.append(None)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        read_labelled(Store(10), rows(10), "classify", tmp_path, piece=3, between=stop)
