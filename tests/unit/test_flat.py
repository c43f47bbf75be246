"""Images in one uncompressed file, read out of a store piece by piece."""

from __future__ import annotations

import functools
import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covidpipe.errors import CovidpipeError
from covidpipe.io.flat import FlatImages
from covidpipe.training.batches import draw_weights
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
    ids = [f"image-{i}" for i in range(n)]
    return pd.DataFrame(
        {"n": np.arange(n)[::-1], "image_id": ids, "group": [f"p{i}" for i in range(n)], "label": labels}
    )


def test_images_come_in_the_order_asked_for_and_from_any_thread(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (20, 4, 5), dtype=np.uint8)
    flat = FlatImages(tmp_path, images.shape)
    flat.append(images[:13])
    flat.append(images[13:])
    np.testing.assert_array_equal(flat[[19, 0, 7, 7]], images[[19, 0, 7, 7]])
    np.testing.assert_array_equal(flat[15:99], images[15:])
    flat.arrange(np.arange(20)[::-1])
    flat.arrange(np.roll(np.arange(20), -1))
    np.testing.assert_array_equal(flat[[0, 18, 19]], images[[18, 0, 19]])
    flat.arrange(np.argsort(np.roll(np.arange(20)[::-1], -1)))
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


def test_a_training_does_not_depend_on_the_key_of_the_hashes(tmp_path):
    """Another key gives patients other names, and so the store another order."""
    read = functools.partial(read_labelled, task="segment_lungs", folder=tmp_path, piece=4)
    part = read(Store(10), rows(10).assign(group=[f"p{i // 2}" for i in range(10)]))
    renamed = rows(10).assign(group=[f"q{9 - i // 2}" for i in range(10)])
    again = read(Store(10), renamed.sample(frac=1, random_state=0))
    for name in ("images", "truth"):
        np.testing.assert_array_equal(getattr(part, name)[:10], getattr(again, name)[:10])
    np.testing.assert_array_equal(part.positive, again.positive)
    np.testing.assert_array_equal(draw_weights(part.groups), draw_weights(again.groups))
    assert (part.foreground, part.sha256) == (again.foreground, again.sha256)
    assert read(Store(10), renamed.assign(group="one")).sha256 != part.sha256, "who belongs together counts"
    other = Store(10)
    other.image[3] += 1
    assert read(other, renamed).sha256 != part.sha256


def test_labels_stay_in_memory(tmp_path):
    store = Store(5)
    part = read_labelled(store, rows(5), "classify", tmp_path)
    assert part.truth.tolist() == [1, 0, 1, 0, 1] and part.positive.tolist() == [True, False, True, False, True]
    np.testing.assert_array_equal(part.images[:5], store.image[::-1])
    turned = rows(5).assign(image_id=[f"image-{9 - i}" for i in range(5)])
    assert read_labelled(store, turned, "classify", tmp_path).truth.tolist() == part.truth.tolist()[::-1]


def test_reading_can_be_stopped_between_pieces(tmp_path):
    calls = []

    def stop():
        calls.append(None)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        read_labelled(Store(10), rows(10), "classify", tmp_path, piece=3, between=stop)
