"""What an engine finds beside what Keras finds, on images of the cohort: told, kept, and refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_cohort as tiny

from covidpipe.errors import CovidpipeError
from covidpipe.inference import agreement, engine, openvino
from covidpipe.inference.agreement import agreed
from covidpipe.inference.cohorts import applicable_methods, load_networks
from covidpipe.io.files import cache_folder, read_json, read_table, write_table
from covidpipe.io.shards import spread
from covidpipe.schemas import IMAGES
from covidpipe.stages import predict


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(engine, "PACKAGE", tmp_path)
    tiny.write_networks(tmp_path)
    return tiny.write_images(tmp_path)


class Moved:
    """A network that says of every pixel what Keras says of its left neighbour but `columns`, lower by `less`."""

    def __init__(self, network, columns, less):
        self.network, self.columns, self.less, self.output_shape = network, columns, less, network.output_shape

    def predict_on_batch(self, images):
        return np.roll(self.network.predict_on_batch(images), self.columns, axis=2) - np.float32(self.less)


def networks_with(config, columns=0, less=0.0):
    """The cohort's networks, that of infection in what passes for bfloat16."""
    networks = load_networks(config, ["ct"], applicable_methods(config, config.methods))
    of_task = {task: replace(one, engine="other 1", parts_of_frame=None) for task, one in networks["ct"].items()}
    one = of_task["segment_infection"]
    of_task["segment_infection"] = replace(one, network=Moved(one.network, columns, less), precision="bfloat16")
    return {"ct": of_task}


def ask(images, config, networks):
    return agreed("c", images, images.parent / "files", applicable_methods(config, config.methods), networks, config)


def test_the_figures_of_agreement_and_that_only_methods_in_bfloat16_are_compared(images, tmp_path, monkeypatch):
    config = tiny.config(tmp_path, segment="all")
    (found,) = ask(images, config, networks_with(config, less=0.25))
    assert (found.modality, found.method, found.precision, found.engine) == ("ct", "khan2020", "bfloat16", "other 1")
    assert (found.compared_on, found.images) == ("cohort c", 2)
    assert found.largest_difference == {"classify": 0, "segment_infection": pytest.approx(0.25), "segment_lungs": 0}
    assert (found.lung_dice, found.infection_dice, found.infection_points_apart) == (1.0, 1.0, 0.0)
    monkeypatch.setattr(agreement, "compare", None)
    assert ask(images, config, networks_with(config, less=0.25)) == [found], "what was compared is kept"
    kept = list((cache_folder() / "agreement").iterdir())
    assert len(kept) == 1
    kept[0].write_text("{")
    with pytest.raises(TypeError, match="not callable"):
        ask(images, config, networks_with(config))


def test_other_masks_are_refused_by_name_with_their_figures(images, tmp_path):
    """Moved by a column, 342 of 360 pixels of the lesion stay, and of the body 60 come into the lungs of each image:
    Dice is 2 x 342 / (360 + 480), and 60 of 1,800 pixels are 3.3 points.
    """
    config = tiny.config(tmp_path, segment="all", engine="openvino_bf16")
    networks = networks_with(config.model_copy(update={"engine": "keras"}), columns=1)
    for _ in ("compared", "kept"):
        with pytest.raises(
            CovidpipeError,
            match=r"engine: openvino_bf16 does not find what Keras finds\. khan2020, 2 images of cohort c: infection "
            r"masks' Dice is 0\.8143 \(at least 0\.999 is wanted\), infection_percent differs by up to 3\.3 points "
            r"\(0\.05 are allowed\)\. Set `engine: openvino`",
        ):
            ask(images, config, networks)


def test_a_percentage_or_lungs_too_far_apart_are_told():
    one = agreement.Agreement("ct", "khan2020", "other 1", "bfloat16", "cohort c", 24, {}, 0.99, None, 0.0612)
    assert one.refusal() == (
        "khan2020, 24 images of cohort c: lung masks' Dice is 0.9900 (at least 0.999 is wanted), infection_percent "
        "differs by up to 0.061 points (0.05 are allowed)"
    )
    assert replace(one, lung_dice=float("nan")).refusal() is not None
    assert replace(one, lung_dice=0.999, infection_points_apart=0.05).refusal() is None


def test_images_that_can_no_longer_be_read_are_not_counted(images, tmp_path):
    config = tiny.config(tmp_path, segment="all")
    (tmp_path / "files" / "ct" / f"{tiny.HEALTHY}.png").unlink()
    (found,) = ask(images, config, networks_with(config))
    assert found.images == 1
    (tmp_path / "files" / "ct" / f"{tiny.ILL}.png").unlink()
    rows = spread(images, "ct", 9)
    assert agreement.compare("c", rows, images.parent, {"ct": ["khan2020"]}, networks_with(config), config) == []


def test_images_are_taken_from_all_over_the_table(images):
    (row,) = [row for row in read_table(images, IMAGES).to_pylist() if row["image_id"] == tiny.ILL]
    write_table(images, [row | {"image_id": f"{n:03}", "accepted": n != 99} for n in range(100)], IMAGES)
    assert [one["image_id"] for one in spread(images, "ct", 3)] == ["000", "049", "098"]
    assert len(spread(images, "ct", 200)) == 99 and spread(images, "xr", 3) == []


def test_the_run_record_tells_what_was_compared(images, tmp_path):
    predict.run(tiny.config(tmp_path), "c", images, 0, tmp_path / "keras")
    assert read_json(tmp_path / "keras" / "run.json")["agreement"] == []
    predict.run(tiny.config(tmp_path, engine="openvino", methods=["alom2020"]), "c", images, 0, tmp_path / "out")
    told = read_json(tmp_path / "out" / "run.json")["agreement"]
    assert [(one["modality"], one["method"]) for one in told] == [("ct", "alom2020"), ("xr", "alom2020")]
    for one in told:
        assert one["engine"] == f"openvino {openvino.version()}" and one["precision"] == "float32"
        assert (one["compared_on"], one["images"]) == ("trial images", 4)
        assert 0 <= one["largest_difference"]["segment_lungs"] < openvino.MOST_APART
        assert one["lung_dice"] is one["infection_dice"] is one["infection_points_apart"] is None
