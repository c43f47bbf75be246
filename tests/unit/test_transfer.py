"""Starting from the weights of another training."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest
from tiny_study import SIZE, Study

from covidpipe import paths
from covidpipe.errors import CovidpipeError
from covidpipe.io.files import file_sha256, read_json, write_json
from covidpipe.io.keras_files import save_model
from covidpipe.models import build
from covidpipe.training.transfer import images_seen, start_from


def network(classes: int = 2, filters: int = 4, prefix: str = "") -> keras.Model:
    inputs = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(filters, 3, name=f"{prefix}conv")(inputs)
    x = keras.layers.BatchNormalization(name=f"{prefix}norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name=f"{prefix}head")(x), name="small")


@pytest.fixture
def parent(tmp_path):
    keras.utils.set_random_seed(1)
    model = network()
    model.get_layer("norm").set_weights([np.full(4, value) for value in (2.0, 3.0, 4.0, 5.0)])
    model.save(tmp_path / "model.keras")
    return model, tmp_path / "model.keras"


def test_every_layer_of_the_same_network_is_taken_over(parent):
    child = network()
    assert start_from(child, parent[1]) == []
    for mine, theirs in zip(child.get_weights(), parent[0].get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_head_for_other_classes_stays_new_and_is_named(parent, caplog):
    child = network(classes=3)
    before = child.get_layer("head").get_weights()
    with caplog.at_level(logging.INFO):
        assert start_from(child, parent[1]) == ["head"]
    assert "2 of 3 layers start from" in caplog.text and "new are: head" in caplog.text
    for now, then in zip(child.get_layer("head").get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(
        child.get_layer("conv").get_weights()[0], parent[0].get_layer("conv").get_weights()[0]
    )


def test_a_network_with_nothing_in_common_and_a_missing_one_are_refused(parent, tmp_path):
    with pytest.raises(CovidpipeError, match="no layer of small has the same name and shape"):
        start_from(network(prefix="other_"), parent[1])
    with pytest.raises(CovidpipeError, match=r"none\.keras: wanted the network to start from.*Train it first"):
        start_from(network(), tmp_path / "none.keras")


def test_what_the_parent_was_trained_on_counts_as_seen():
    own = {"a": "test", "b": "train", "e": "validation"}
    theirs = {"a": "train", "b": "test", "c": "validation", "d": "test", "e": "train"}
    assert images_seen(own, theirs) == {"a": "train", "b": "train", "c": "validation", "e": "train"}
    assert images_seen(own, {}) == own


def test_a_study_trains_a_network_from_another(tmp_path):
    """At a rate that changes nothing, the child is its parent, and has seen what that was trained on."""
    network = {"task": "segment_lungs", "model": "cov_raseg", "width": 0.05}
    study = Study(
        tmp_path,
        recipe=network | {"init_from": "first", "fold": 1},
        schedule={"epochs": 1, "optimizer": "sgd", "learning_rate": 1e-30},
        recipes={"first": network},
    )
    parent, child = (paths.model(study.config, study.config.training[name]) for name in ("first", "square"))
    keras.utils.set_random_seed(1)
    first = build("cov_raseg", (SIZE, SIZE, 1), 2, width=0.05)
    parent.mkdir(parents=True)
    save_model(first, parent / "model.keras")
    images = {"i01": "train", "i02": "test", "elsewhere": "validation"}
    write_json(parent / "run.json", {"images": images, "weights_sha256": file_sha256(parent / "model.keras")})
    study.train(child)
    record = read_json(child / "run.json")
    assert record["parent"] == {"name": "first", "weights_sha256": file_sha256(parent / "model.keras")}
    second = keras.saving.load_model(child / "model.keras", compile=False)
    kernels = [model.get_layer("encoder1_conv1").get_weights()[0] for model in (first, second)]
    np.testing.assert_array_equal(*kernels)
    # Patients 1 and 5 are tested, 2 and 6 validate; but the parent was trained on i01.
    seen = record["images"]
    assert [seen[f"i{n:02d}"] for n in (0, 1, 2, 5, 6)] == ["train", "train", "validation", "test", "validation"]
    assert seen["elsewhere"] == "validation"
