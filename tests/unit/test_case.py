"""The page of one image: every step drawn, nothing that names a person."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from test_report import Page, make_cohort, pictures
from tiny_cohort import SCREEN, chest

from covidpipe import cli, config, paths
from covidpipe.config import dump
from covidpipe.errors import UsageError
from covidpipe.inference import methods
from covidpipe.inference.looking import look
from covidpipe.io.files import read_frame
from covidpipe.io.image import Image
from covidpipe.report import overlays
from covidpipe.report.case import steps
from covidpipe.schemas import IMAGES
from covidpipe.stages import case


@dataclass
class Pretended:
    """A network that marks what is darker, or brighter, than a grey level; or screens by the mean."""

    task: str
    edge: float
    recipe: dict[str, Any] = field(default_factory=dict)
    inside: tuple[slice, slice] | None = None
    model_id: str = "pretended@0"
    parts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        grid = {"source_size": 96, "image_size": 96, "window_hu": [-1350, 150], "threshold": 0.5}
        grid |= {"input": "wavelet" if self.task == "classify" else "harmonized", "reading": "none"}
        self.recipe = grid | {"dataset": "phantom-ct"} | self.recipe

    def predict(self, images):
        if self.task == "classify":
            return (images.mean(axis=(1, 2)) > self.edge).astype(np.float32)
        marked = images < self.edge if self.task == "segment_lungs" else images > self.edge
        if self.inside is not None:  # the air around a body is as dark as lung
            rows, columns = self.inside
            marked = marked & np.isin(np.arange(96), np.arange(96)[rows])[:, None]
            marked = marked & np.isin(np.arange(96), np.arange(96)[columns])
        return marked.astype(np.float32)

    def predict_in(self, images, lungs):
        assert lungs.any(axis=(1, 2)).all()
        return self.predict(images)


NETWORKS = {
    "classify": Pretended("classify", SCREEN),
    "segment_lungs": Pretended("segment_lungs", 160),
    "segment_infection": Pretended("segment_infection", 90),
}


def test_what_is_looked_at_is_what_the_methods_find():
    settings = config.Config(harmonize={"source_size": 96})
    array, lung, lesion = chest(360)
    image = Image(array, None, "ct", "windowed_8bit")
    (seen,) = look([image], ["khan2020", "alom2020"], NETWORKS, settings)
    batch = {methods.common_grid(settings): array[None]}
    for method, (finding,) in methods.find(batch, ["khan2020", "alom2020"], NETWORKS, settings).items():
        assert (seen.findings[method].infection_mask == finding.infection_mask).all()
        assert (seen.findings[method].lung_mask == finding.lung_mask).all()
    assert ((seen.infection_probability > 0.5) & lung == lesion & lung).all()
    assert (seen.lung_probability > 0.5)[lung].all() and seen.screening_threshold == 0.5
    assert seen.enhanced.shape == (96, 96) and np.array_equal(seen.enhanced, array)
    looked_at = ~np.isnan(seen.above_level)
    assert (looked_at <= lung).all() and looked_at.sum() < lung.sum()  # the rim is left out
    assert (seen.above_level[looked_at & lesion] > 0).all() and (seen.above_level[looked_at & ~lesion] <= 0).all()


def test_several_images_are_looked_at_together_and_only_those_that_were_asked_have_a_probability():
    settings = config.Config(harmonize={"source_size": 96}, segment="positives")
    images = [Image(chest(px)[0], None, "ct", "windowed_8bit") for px in (0, 360, 0, 180, 400)]
    seen = look(images, ["khan2020"], NETWORKS, settings)
    positive = [one.findings["khan2020"].covid_positive for one in seen]
    assert True in positive and False in positive
    assert [one.infection_probability is not None for one in seen] == positive
    assert [one.heat("khan2020") is not None for one in seen] == positive
    for one, image in zip(seen, images, strict=True):
        (alone,) = look([image], ["khan2020"], NETWORKS, settings)
        assert (alone.infection_probability is None) or (alone.infection_probability == one.infection_probability).all()


def test_a_film_asked_for_pneumonia_says_so_and_keeps_its_steps():
    settings = config.Config(harmonize={"source_size": 96})
    film = Image(chest(360)[0], None, "xr", "radiograph")
    lungs = {"segment_lungs": NETWORKS["segment_lungs"]}
    asked = lungs | {"classify": Pretended("classify", SCREEN, {"dataset": "kermany"})}
    plain, more = (
        steps(look([film], ["alom2020"], networks, settings)[0], settings, "xr") for networks in (lungs, asked)
    )
    (step,) = [step for step in more if step not in plain]
    assert step["title"] == "Pneumonia: positive" and step["picture"] is None
    assert step["words"].startswith("Pneumonia of any cause with probability 1.000; from 0.500 on it counts.")


def test_one_method_alone_draws_its_own_steps():
    array, _, _ = chest(360)
    lungs = {"segment_lungs": NETWORKS["segment_lungs"]}
    (seen,) = look([Image(array, None, "xr", "radiograph")], ["alom2020"], lungs, config.Config())
    assert seen.enhanced is None and seen.infection_probability is None and set(seen.findings) == {"alom2020"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A cohort that is quantified, where its config says."""
    made = make_cohort(tmp_path_factory.mktemp("study"), images=10)
    for source, place in (
        (made.images, paths.images(made.config, "ward_3")),
        (made.table, paths.cohort(made.config, "ward_3") / "infection.parquet"),
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    (made.folder / "study.yaml").write_text(dump(made.config))
    return made


@pytest.fixture()
def networks(monkeypatch):
    lungs = Pretended("segment_lungs", 100, inside=(slice(27, 69), slice(18, 78)))
    of_study = NETWORKS | {"segment_lungs": lungs, "classify": Pretended("classify", 0)}
    monkeypatch.setattr(case, "load_networks", lambda *_, **__: {"ct": of_study, "xr": of_study})


def an_image(study, **wanted):
    images = read_frame(study.images, IMAGES)
    for column, value in wanted.items():
        images = images[images[column] == value]
    return images["image_id"].iloc[0]


def test_a_page_shows_all_steps_and_names_no_path(study, networks, capsys):
    image_id = an_image(study, accepted=True, modality="ct")
    assert cli.main(["show", image_id[:6], "--config", str(study.folder / "study.yaml")]) == 0
    page = study.folder / "cohorts" / "ward_3" / "cases" / f"{image_id}.html"
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == f"page  {page}" and "khan2020: " in told
    document = page.read_text()
    found = Page(document)
    shown = [image["alt"] for image in found.all("img")]
    for step in ("As it was read", "Probability of lung", "Lung mask", "Wavelet", "Probability of infection"):
        assert any(step in words for words in shown), step
    assert sum("Infection mask" in words for words in shown) == 2
    assert "Screened" in document and "vessel suppressed" in document
    assert "Doe_John" not in document and str(study.folder) not in document and "http:" not in document
    for picture in pictures(document)[1:]:
        assert picture.min(axis=2).max() < 250  # the white writing in the corner stays out


def test_programs_get_the_rows_and_no_page(study, capsys, tmp_path):
    image_id = an_image(study, accepted=True, modality="xr")
    argv = ["show", image_id, "--config", str(study.folder / "study.yaml"), "--json", "--out", str(tmp_path / "x.html")]
    assert cli.main(argv) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cohort"] == "ward_3" and told["image"]["image_id"] == image_id and "path" not in told["image"]
    assert {row["method"] for row in told["rows"]} == {"alom2020", "khan2020"}
    assert not (tmp_path / "x.html").exists()


def test_a_rejected_image_has_a_page_that_says_why(study, networks, tmp_path):
    image_id = an_image(study, accepted=False)
    page, _ = case.run(study.config, image_id, tmp_path / "x.html")
    document = page.read_text()
    assert "There are no pictures: Found " in document and "<script>alert" not in document
    assert not Page(document).all("img")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [("abc", "too short"), ("zzzz", "No image of ward_3 is called"), ("", "too short")],
)
def test_what_is_no_image_is_told(study, wanted, told):
    with pytest.raises(UsageError, match=told):
        case.run(study.config, wanted)


def test_digits_of_several_images_are_not_enough(study, monkeypatch):
    monkeypatch.setattr(case, "SHORTEST", 0)
    with pytest.raises(UsageError, match=r"10 images begin with ``: .*Give more of its digits"):
        case.find(study.config, "")


def test_flags_of_one_image_want_one(study, capsys):
    assert cli.main(["show", "--config", str(study.folder / "study.yaml"), "--json"]) == cli.USAGE
    assert "Give its image_id" in capsys.readouterr().err


def test_heat_is_drawn_where_it_is_asked_for():
    lung = np.zeros((100, 100), bool)
    lung[30:70, 30:70] = True
    values = np.zeros((100, 100))
    values[40:60, 40:60] = 1
    picture = overlays.heat(np.full((100, 100), 100, np.uint8), values, lung, lung).astype(int)
    hot, cold = (np.round(100 + overlays.HEAT_OPACITY * (overlays.RAMP[k] - 100)) for k in (-1, 0))
    assert (picture[160, 160] == hot).all() and (picture[80, 160] == cold).all() and (picture[5, 5] == 100).all()
