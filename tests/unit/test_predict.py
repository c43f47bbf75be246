"""Networks found, loaded and run; masks of both methods, one entry an image and method."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_cohort as tiny

from covidpipe.errors import CovidpipeError
from covidpipe.inference import cohorts, engine
from covidpipe.inference.methods import at_half, fused, worst_part
from covidpipe.io.files import file_sha256, read_json, read_table, write_table
from covidpipe.io.store import open_store
from covidpipe.schemas import IMAGES, MASK_INDEX
from covidpipe.stages import predict


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "PACKAGE", tmp_path)
    return tiny.write_images(tmp_path)


@pytest.fixture
def networks(images):
    shas = {row["image_id"]: row["source_sha256"] for row in read_table(images, IMAGES).to_pylist()}
    tiny.write_networks(images.parent, parts={shas[tiny.ILL]: "train"})


def entries(folder):
    index = read_table(folder / "index.parquet", MASK_INDEX).to_pylist()
    store = open_store(folder)
    masks = {name: store.read(name, range(len(index))) > 0 for name in ("lung_mask", "infection_mask")}
    return {(row["image_id"], row["method"]): row | {name: masks[name][row["n"]] for name in masks} for row in index}


def test_both_methods_find_what_was_drawn(images, networks, tmp_path):
    predict.run(tiny.config(tmp_path), "c", images, 0, tmp_path / "out")
    found = entries(tmp_path / "out")
    assert list(found) == [
        (tiny.HEALTHY, "alom2020"),
        (tiny.HEALTHY, "khan2020"),
        (tiny.ILL, "alom2020"),
        (tiny.ILL, "khan2020"),
        (tiny.XRAY, "alom2020"),
    ]
    for (image_id, _), entry in found.items():
        assert np.array_equal(entry["lung_mask"], tiny.pictures()[image_id][1])
    ill = found[tiny.ILL, "khan2020"]
    assert np.array_equal(ill["infection_mask"] & ill["lung_mask"], tiny.pictures()[tiny.ILL][2])
    assert ill["covid_positive"] and ill["covid_probability"] > 0.5 and ill["reasons"] == []
    assert ill["split"] == "train" and found[tiny.HEALTHY, "khan2020"]["split"] is None
    weights = file_sha256(tmp_path / "weights" / "ct_screening" / "model.keras")
    assert ill["classifier_id"] == f"cov_ctnet@{weights[:12]}" and ill["infection_model_id"].startswith("cov_raseg@")
    healthy = found[tiny.HEALTHY, "khan2020"]
    assert healthy["reasons"] == ["screened_negative"] and not healthy["infection_mask"].any()
    assert healthy["infection_model_id"] is None
    xray = found[tiny.XRAY, "alom2020"]
    assert xray["covid_probability"] is None and xray["classifier_id"] is None
    assert xray["infection_mask"].sum() == 180  # 9 x 20: the corners that opening rounds are grown back


def test_fusion_marks_what_network_and_threshold_together_say(images, networks, tmp_path):
    predict.run(tiny.config(tmp_path, methods=["fusion"]), "c", images, 0, tmp_path / "out")
    found = entries(tmp_path / "out")
    assert list(found) == [(tiny.HEALTHY, "fusion"), (tiny.ILL, "fusion")], "not on films"
    ill = found[tiny.ILL, "fusion"]
    assert np.array_equal(ill["infection_mask"], tiny.pictures()[tiny.ILL][2])
    assert ill["covid_probability"] is None and ill["classifier_id"] is None and ill["split"] == "train"
    assert ill["infection_model_id"].startswith("cov_raseg@") and ill["lung_model_id"].startswith("nabla3@")
    assert not found[tiny.HEALTHY, "fusion"]["infection_mask"].any()


@pytest.mark.parametrize(
    ("probability", "marked"),
    [
        (0.0, "nothing"),  # the threshold alone is not enough
        (0.1, "inside"),
        (0.3, "inside"),  # the rim of a region is blurred
        (0.5, "inside and rim"),
        (0.75, "region"),
        (0.8, "region and speck"),
        (0.95, "all"),  # nor need it say anything where the network is sure
    ],
)
def test_fusion_by_hand(probability, marked):
    mask = np.zeros((20, 20), bool)
    mask[4:14, 4:14] = mask[17, 17] = True
    found = fused(np.full(mask.shape, probability, np.float32), mask)
    inside, corner, rim, speck, outside = found[8, 8], found[4, 4], found[4, 8], found[17, 17], found[1, 1]
    told = {
        "nothing": (False, False, False, False, False),
        "inside": (True, False, False, False, False),
        "inside and rim": (True, False, True, False, False),
        "region": (True, True, True, False, False),
        "region and speck": (True, True, True, True, False),
        "all": (True, True, True, True, True),
    }
    assert (inside, corner, rim, speck, outside) == told[marked]


def test_a_threshold_of_a_network_is_a_half_in_the_fusion():
    said = np.array([0.0, 0.1, 0.2, 0.6, 1.0], np.float32)
    np.testing.assert_allclose(at_half(said, 0.2), [0.0, 0.25, 0.5, 0.75, 1.0], rtol=1e-6)
    np.testing.assert_allclose(at_half(said, 0.5), said, rtol=1e-6)
    assert (at_half(said[1:], 0.0) > 0.5).all() and (at_half(said[:-1], 1.0) < 0.5).all()


def test_a_network_that_sees_the_lungs_alone_finds_the_same_lesion(images, networks, tmp_path):
    """Air 60 and tissue 200 stand at 0 and 1, so the lesion of 120 at 0.43, which the view shows as 115 of 255."""
    predict.run(tiny.config(tmp_path, methods=["khan2020"]), "c", images, 0, tmp_path / "whole")
    tiny.write_model(tmp_path / "weights" / "ct_infection", "segment_infection", input="lung_view", image_size=64)
    predict.run(tiny.config(tmp_path, methods=["khan2020"]), "c", images, 0, tmp_path / "views")
    (whole, view) = (entries(tmp_path / name)[tiny.ILL, "khan2020"] for name in ("whole", "views"))
    lung = whole["lung_mask"]
    assert whole["infection_mask"][lung].sum() == 360
    assert np.count_nonzero((view["infection_mask"] ^ whole["infection_mask"]) & lung) <= 76, "no more than the rim"
    assert not view["infection_mask"][:, :2].any(), "beyond the view nothing is said to be infected"


def test_segment_all_and_the_same_bytes_twice(images, networks, tmp_path):
    config = tiny.config(tmp_path, segment="all", methods=["khan2020"])
    predict.run(config, "c", images, 0, tmp_path / "one")
    predict.run(config, "c", images, 0, tmp_path / "two")
    healthy = entries(tmp_path / "one")[tiny.HEALTHY, "khan2020"]
    assert healthy["covid_positive"] is False and healthy["reasons"] == []
    assert healthy["infection_model_id"] and not healthy["infection_mask"].any(), "bright is the body, not the lungs"
    files = [p for p in sorted((tmp_path / "one").rglob("*")) if p.is_file() and p.name != "run.json"]
    assert files
    for file in files:
        assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes()


def test_shards_cut_the_table_and_may_hold_nothing_accepted(images, networks, tmp_path):
    config = tiny.config(tmp_path, shard_images=2)
    predict.run(config, "c", images, 0, tmp_path / "0")
    predict.run(config, "c", images, 1, tmp_path / "1")
    assert {image for image, _ in entries(tmp_path / "0")} == {tiny.HEALTHY, tiny.ILL}
    assert {image for image, _ in entries(tmp_path / "1")} == {tiny.XRAY}
    predict.run(tiny.config(tmp_path, shard_images=3), "c", images, 1, tmp_path / "empty")
    assert entries(tmp_path / "empty") == {}


def test_a_file_that_changed_or_went_is_a_reason_not_a_crash(images, networks, tmp_path):
    (tmp_path / "files" / "ct" / f"{tiny.ILL}.png").write_bytes(b"no longer an image")
    (tmp_path / "files" / "ct" / f"{tiny.XRAY}.png").unlink()
    predict.run(tiny.config(tmp_path), "c", images, 0, tmp_path / "out")
    found = entries(tmp_path / "out")
    assert len(found) == 5
    for key in ((tiny.ILL, "khan2020"), (tiny.ILL, "alom2020"), (tiny.XRAY, "alom2020")):
        assert found[key]["reasons"] == ["unreadable"] and not found[key]["lung_mask"].any()
    assert found[tiny.HEALTHY, "khan2020"]["lung_mask"].any()


def test_copies_are_computed_once_and_serve_where_one_of_them_is_gone(images, networks, tmp_path, monkeypatch):
    """Eight copies in two batches, the first of them gone: the network sees one, whose masks serve all."""
    monkeypatch.setattr(cohorts, "BATCH", 5)
    rows = read_table(images, IMAGES).to_pylist()
    ill = next(row for row in rows if row["image_id"] == tiny.ILL)
    copies = [ill | {"image_id": f"copy-{n}"} for n in range(8)]
    copies[0]["source_sha256"] = "gone"
    write_table(images, rows + copies, IMAGES)
    seen = []
    whole = engine.LoadedModel.predict

    def counted(self, batch):
        seen.append((self.recipe["task"], len(batch)))
        return whole(self, batch)

    monkeypatch.setattr(engine.LoadedModel, "predict", counted)
    predict.run(tiny.config(tmp_path), "c", images, 0, tmp_path / "out")
    found = entries(tmp_path / "out")
    for method in ("alom2020", "khan2020"):
        for n in range(8):
            assert np.array_equal(found[f"copy-{n}", method]["lung_mask"], found[tiny.ILL, method]["lung_mask"])
            assert np.array_equal(
                found[f"copy-{n}", method]["infection_mask"], found[tiny.ILL, method]["infection_mask"]
            )
    assert sum(n for task, n in seen if task == "classify") == 2  # the healthy slice and the ill one


def test_a_missing_role_leaves_the_method_out(images, networks, tmp_path):
    config = tiny.config(tmp_path, models={"ct": {"segment_lungs": "shipped:ct_lungs"}})
    predict.run(config, "c", images, 0, tmp_path / "out")
    assert set(entries(tmp_path / "out")) == {(tiny.HEALTHY, "alom2020"), (tiny.ILL, "alom2020")}


def test_missing_and_damaged_weights_say_so(images, networks, tmp_path):
    lungs = tmp_path / "weights" / "ct_lungs"
    wanted = file_sha256(lungs / "model.keras")
    (lungs / "model.keras").write_bytes(b"something else")
    with pytest.raises(CovidpipeError, match=f"SHA-256 is {file_sha256(lungs / 'model.keras')}.*{wanted}"):
        engine.load_model_folder(lungs)
    (lungs / "model.keras").unlink()
    with pytest.raises(CovidpipeError, match=r"`ct_lungs` ship with covidpipe.*`models`"):
        predict.run(tiny.config(tmp_path), "c", images, 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(CovidpipeError, match=r"no-such.*model\.keras.*snakemake train"):
        engine.load_model_folder(tmp_path / "no-such")


def test_resolve_finds_trained_and_shipped_networks(tmp_path):
    recipe = {"task": "segment_lungs", "dataset": "medseg829", "model": "nabla3", "regime": "scratch"}
    config = tiny.config(
        tmp_path,
        training={"mine": recipe | {"image_size": 64}},
        schedules={"short": {"epochs": 1, "batch_size": 1, "learning_rate": 0.1}},
        models={"ct": {"classify": "shipped:ct_screening", "segment_lungs": "mine"}},
    )
    found = engine.resolve(config, "ct")
    assert found["classify"] == engine.PACKAGE / "weights" / "ct_screening"
    assert found["segment_lungs"] == (tmp_path / "results/models/medseg829/segment_lungs/nabla3/scratch/grouped/fold-0")
    assert engine.resolve(config, "xr") == {}


def test_prediction_does_not_depend_on_how_many_come_together(images, networks, tmp_path, monkeypatch):
    network = engine.load_model_folder(tmp_path / "weights" / "ct_lungs")
    some = np.random.default_rng(0).integers(0, 256, (7, tiny.SIZE, tiny.SIZE), np.uint8)
    together = network.predict(some)
    monkeypatch.setattr(engine, "BATCH_PIXELS", 3 * tiny.SIZE**2)
    assert network.batch_size == 3
    assert together.shape == some.shape and np.allclose(together, network.predict(some), atol=1e-6)
    assert np.array_equal(together > 0.5, some < 160)
    assert network.predict(some[:0]).shape == (0, tiny.SIZE, tiny.SIZE)


def test_the_part_that_flatters_most_wins():
    def network(part):
        return engine.LoadedModel({}, "", {"sha": part} if part else {}, None, "")

    assert worst_part("sha", [network("test"), network("train"), network("validation")]) == "train"
    assert worst_part("sha", [network("test"), network("validation")]) == "validation"
    assert worst_part("sha", [network(None), network("test")]) == "test"
    assert worst_part("sha", [network(None)]) is None


def test_run_json_tells_the_networks(images, networks, tmp_path):
    predict.run(tiny.config(tmp_path), "c", images, 0, tmp_path / "out")
    record = read_json(tmp_path / "out" / "run.json")
    assert set(record["models"]["ct"]) == {"classify", "segment_lungs", "segment_infection"}
