"""The stages harmonize, wavelet and split, on a drawn dataset and on a few real images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidpipe.config import Config
from covidpipe.errors import BadTable
from covidpipe.harmonize import Transform, harmonize, resize
from covidpipe.io.files import read_frame, write_table
from covidpipe.io.store import open_store
from covidpipe.lung_view import around, view, view_mask
from covidpipe.schemas import DUPLICATES, IMAGES, SPLIT
from covidpipe.splits import check_no_leak, parts
from covidpipe.stages import harmonize as harmonize_stage
from covidpipe.stages import lung_view, split, wavelet
from covidpipe.wavelet import enhance

SHAPES = [(80, 80), (100, 70), (64, 90), (80, 80), (96, 96)]


@pytest.fixture
def drawn(tmp_path) -> tuple[Config, Path, list[np.ndarray], list[np.ndarray]]:
    """A cohort of five PNGs of four patients, three with a lung mask, and a rejected file."""
    folder = tmp_path / "source"
    folder.mkdir()
    random = np.random.default_rng(0)
    images, masks, rows = [], [], []
    for number, shape in enumerate(SHAPES):
        image = random.integers(0, 256, shape).astype(np.uint8)
        mask = np.zeros(shape, bool)
        if number < 3:
            mask[20:50, 10:40] = True
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"lung{number}.png")
        Image.fromarray(image).save(folder / f"{number}.png")
        images.append(image)
        masks.append(mask)
        rows.append(
            {
                "image_id": f"i{number}",
                "patient_id": f"p{min(number, 3)}",
                "path": f"{number}.png",
                "frame": 0,
                "modality": "ct",
                "intensity": "windowed_8bit",
                "rows": shape[0],
                "columns": shape[1],
                "pixel_sha256": f"x{number}",
                "label": number % 2 == 0 if number < 4 else None,
                "lung_mask_path": f"lung{number}.png" if number < 3 else None,
                "accepted": True,
                "warnings": [],
            }
        )
    bad = {"image_id": "bad", "path": "bad.png", "frame": 0, "accepted": False, "warnings": []}
    write_table(tmp_path / "images.parquet", [*rows, bad | {"reason": "unreadable", "sentence": "."}], IMAGES)
    config = Config.model_validate({"cohorts": {"drawn": {"path": str(folder), "modality": "ct"}}, "folds": 3})
    return config, tmp_path, images, masks


def run_harmonize(config: Config, folder: Path, **options) -> None:
    harmonize_stage.run(config, "drawn", folder / "images.parquet", 48, folder / "h", **options)


@pytest.mark.parametrize("workers", [None, 2])
def test_harmonize_writes_what_the_pure_function_gives(drawn, workers, monkeypatch):
    config, folder, images, masks = drawn
    monkeypatch.setattr(harmonize_stage, "STORE_SHARD", 2)
    run_harmonize(config, folder, workers=workers)
    store = open_store(folder / "h")
    assert set(store.arrays) == {"image", "lung_mask", "infection_mask"}
    assert store.index["image_id"].tolist() == ["i0", "i1", "i2", "i3", "i4"]
    assert store.index["has_lung_mask"].tolist() == [True, True, True, False, False]
    assert not store.index["has_infection_mask"].any()
    assert store.index["label"].isna().tolist() == [False] * 4 + [True]
    found, found_masks = store.read("image", range(5)), store.read("lung_mask", range(5))
    for n, (image, mask) in enumerate(zip(images, masks, strict=True)):
        wanted, transform = harmonize(image, 48, intensity="windowed_8bit", window_hu=config.harmonize.window_hu)
        np.testing.assert_array_equal(found[n], wanted)
        np.testing.assert_array_equal(found_masks[n], transform.forward_mask(mask))
        assert Transform(**store.index.iloc[n][list(transform.as_dict())]) == transform
        back = transform.to_native(found_masks[n].astype(bool))
        assert back.shape == image.shape
        assert back.sum() == pytest.approx(mask.sum(), rel=0.1)
    assert not store.read("infection_mask", range(5)).any()
    assert json.loads((folder / "h/run.json").read_text())["images"] == 5


def test_an_image_that_is_lost_after_ingest_is_named_by_its_id(drawn):
    config, folder, *_ = drawn
    (folder / "source/3.png").unlink()
    with pytest.raises(BadTable, match=r"Image i3: wanted its image of 80 x 80 .*run ingest again"):
        run_harmonize(config, folder)
    assert not (folder / "h").exists()


def test_a_mask_of_another_shape_is_named(drawn):
    config, folder, *_ = drawn
    Image.fromarray(np.zeros((70, 100), np.uint8)).save(folder / "source/lung1.png")
    with pytest.raises(BadTable, match=r"Image i1: wanted its lung_mask of 100 x 70 .*It has 70 x 100 pixels now"):
        run_harmonize(config, folder)


@pytest.mark.parametrize("reading", ["paper_haar", "authors_code"])
def test_wavelet_keeps_the_rows_and_enhances_before_it_resizes(drawn, reading):
    config, folder, *_ = drawn
    run_harmonize(config, folder)
    wavelet.run(config, folder / "h", reading, 30, folder / "w")
    source, store = open_store(folder / "h"), open_store(folder / "w")
    same = ["n", "image_id", "label", "has_lung_mask", "has_infection_mask", "native_rows", "native_columns"]
    assert store.index[same].equals(source.index[same])
    for n in range(5):
        np.testing.assert_array_equal(
            store.read("image", [n])[0], resize(enhance(source.read("image", [n])[0], reading), 30)
        )
        transform = Transform.fit(*SHAPES[n], 30)
        assert store.index.iloc[n][list(transform.as_dict())].tolist() == list(transform.as_dict().values())
    masks = store.read("lung_mask", range(5))
    assert set(np.unique(masks)) == {0, 1}
    assert masks[:3].mean() == pytest.approx(source.read("lung_mask", range(3)).mean(), rel=0.1)
    assert json.loads((folder / "w/run.json").read_text())["reading"] == reading


def test_lung_views_keep_the_rows_and_tell_what_they_cover(drawn):
    config, folder, *_ = drawn
    harmonize_stage.run(config, "drawn", folder / "images.parquet", 96, folder / "h")
    lung_view.run(config, folder / "h", 40, folder / "v")
    source, store = open_store(folder / "h"), open_store(folder / "v")
    same = ["n", "image_id", "label"]
    assert store.index[same].equals(source.index[same])
    assert store.index["has_lung_mask"].tolist() == [True, True, True, False, False]
    images, lungs = (source.read(name, range(5)) for name in ("image", "lung_mask"))
    for n in range(5):
        seen, square = view(images[n], lungs[n] > 0, 40), around(lungs[n] > 0)
        np.testing.assert_array_equal(store.read("image", [n])[0], seen)
        np.testing.assert_array_equal(store.read("lung_mask", [n])[0], view_mask(lungs[n], square, 40))
        side = 96 if square is None else square.side
        row = store.index.iloc[n]
        assert (row["top"], row["left"], row["height"], row["width"]) == (0, 0, 40, 40)
        assert row["native_rows"] == row["native_columns"] == round(side * max(SHAPES[n]) / 96)
    assert np.ptp(store.read("image", [0])) > 100 and np.ptp(store.read("image", [3, 4])) == 0
    assert json.loads((folder / "v/run.json").read_text())["with_lungs"] == 3


def test_an_empty_cohort_gives_an_empty_store(drawn):
    config, folder, *_ = drawn
    write_table(folder / "images.parquet", [], IMAGES)
    run_harmonize(config, folder)
    wavelet.run(config, folder / "h", "none", 20, folder / "w")
    lung_view.run(config, folder / "h", 20, folder / "v")
    for name in ("w", "v"):
        assert open_store(folder / name).read("image", []).shape == (0, 20, 20)


def run_split(config: Config, folder: Path, protocol: str, pairs=(), name: str = "split") -> pd.DataFrame:
    """The folds, with `pairs` of image_ids that look alike."""
    rows = [
        {"source": "d", "image_id": a, "other_source": "d", "other_image_id": b}
        | {"reason": "near_duplicate", "correlation": 0.99}
        for a, b in pairs
    ]
    write_table(folder / "pairs.parquet", rows, DUPLICATES)
    out = folder / f"{name}.parquet"
    split.run(config, "drawn", folder / "images.parquet", folder / "pairs.parquet", protocol, out)
    return read_frame(out, SPLIT).set_index("image_id")


def change_rows(folder: Path, **columns: dict[str, object]) -> None:
    """Set cells of the image table: ``column={image_id: value}``."""
    rows = read_frame(folder / "images.parquet", IMAGES)
    for column, values in columns.items():
        for image_id, value in values.items():
            rows.loc[rows["image_id"] == image_id, column] = value
    write_table(folder / "images.parquet", rows, IMAGES)


def test_split_keeps_patients_and_copies_together(drawn):
    config, folder, *_ = drawn
    # i2 is an anonymous copy of i0
    change_rows(folder, patient_id={"i2": None, "i1": None}, pixel_sha256={"i2": "x0"})
    table = run_split(config, folder, "grouped")
    assert sorted(table.index) == ["i0", "i1", "i2", "i3", "i4"]
    assert table["group"]["i0"] == table["group"]["i2"]
    assert table["group"]["i3"] == table["group"]["i4"] == "patient of image i3"
    assert table["group"]["i1"] == "image i1"
    assert set(table["fold"]) == {0, 1, 2}
    assert set(table["protocol"]) == {"grouped"}
    for fold in range(3):
        check_no_leak(table["group"].to_numpy(str), parts(table["fold"].to_numpy(int), fold, 3))
    before = (folder / "split.parquet").read_bytes()
    run_split(config, folder, "grouped")
    assert (folder / "split.parquet").read_bytes() == before


def test_split_keeps_what_looks_alike_together_whoever_it_is_of(drawn):
    config, folder, *_ = drawn
    table = run_split(config, folder, "grouped", [("i1", "i4")])
    assert table["group"]["i1"] == table["group"]["i3"] == table["group"]["i4"]
    assert table["fold"]["i1"] == table["fold"]["i3"]
    assert table["group"].nunique() == 3


def test_folds_do_not_depend_on_the_key_of_the_identifiers(drawn):
    config, folder, *_ = drawn
    before = {protocol: run_split(config, folder, protocol)["fold"] for protocol in ("grouped", "published")}
    change_rows(folder, patient_id={"i0": "z", "i1": "y", "i2": "x", "i3": "a", "i4": "a"})
    for protocol, folds in before.items():
        assert folds.equals(run_split(config, folder, protocol)["fold"])


def test_published_splits_by_image_and_too_few_patients_are_told(drawn):
    config, folder, *_ = drawn
    more = config.model_copy(update={"folds": 5})
    assert sorted(run_split(more, folder, "published")["fold"]) == [0, 1, 2, 3, 4]
    with pytest.raises(BadTable, match=r"at least 5 groups.*there are 4"):
        run_split(more, folder, "grouped", name="grouped")
    assert not (folder / "grouped.parquet").exists()


def test_published_follows_the_authors_lists(drawn):
    config, folder, *_ = drawn
    change_rows(folder, published_part={"i0": "train", "i1": "test", "i3": "train", "i4": "test"})
    table = run_split(config.model_copy(update={"folds": 2}), folder, "published")
    assert table["fold"][["i0", "i1", "i3", "i4"]].tolist() == [1, 0, 1, 0]
    assert set(table["protocol"]) == {"published"}
    # a list is no protection: both i3 and i4 are of patient p3
    assert table["group"]["i3"] == table["group"]["i4"]


@pytest.mark.real_data
def test_real_masks_keep_their_share_of_the_image(real_data, tmp_path):
    names = sorted(path.name for path in (real_data / "medseg829/lung").glob("3_z2*.png"))[::10][:6]
    rows = [
        {
            "image_id": name,
            "path": f"ct/{name}",
            "frame": 0,
            "modality": "ct",
            "intensity": "windowed_8bit",
            "rows": 315,
            "columns": 315,
            "lung_mask_path": f"lung/{name}",
            "accepted": True,
            "warnings": [],
        }
        for name in names
    ]
    write_table(tmp_path / "images.parquet", rows, IMAGES)
    config = Config.model_validate({"cohorts": {"m": {"path": str(real_data / "medseg829")}}})
    harmonize_stage.run(config, "m", tmp_path / "images.parquet", 304, tmp_path / "h")
    masks = open_store(tmp_path / "h").read("lung_mask", range(len(names)))
    for name, mask in zip(names, masks, strict=True):
        native = np.asarray(Image.open(real_data / "medseg829/lung" / name)) > 0
        assert mask.mean() == pytest.approx(native.mean(), rel=0.01)
        assert Transform.fit(315, 315, 304).to_native(mask.astype(bool)).sum() == pytest.approx(native.sum(), rel=0.01)
