"""Planted leaks are refused by name: a patient, a copy under another name, a dataset that shares either."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drawn_chests import chest, figure, recompressed, resized

from covidpipe import paths, workflow
from covidpipe.cli import main
from covidpipe.config import Config
from covidpipe.errors import BadTable, PatientLeak
from covidpipe.io.files import read_frame, write_table
from covidpipe.schemas import IMAGES, SPLIT
from covidpipe.sealed import seal, unseal
from covidpipe.stages import apart, duplicates, ingest, split

PATIENTS, SLICES, FOLDS = 6, 2, 3
RECIPE = {"task": "classify", "model": "cov_ctnet", "regime": "scratch_original", "image_size": 32, "schedule": "s"}


def write_dataset(folder: Path, pictures: dict[str, np.ndarray], patients: dict[str, str]) -> None:
    """A folder laid out as the phantoms' is."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file,patient,study,series,slice_index,label,lung_mask,infection_mask"]
    for n, (name, picture) in enumerate(pictures.items()):
        cv2.imwrite(str(folder / name), picture)
        lines.append(f"{name},{patients.get(name, '')},,,,{n % 2},,{name}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def six_patients() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    pictures = {f"p{p}-{s}.png": chest(10 * p + s, 96, 96) for p in range(PATIENTS) for s in range(SLICES)}
    return pictures, {name: name.split("-")[0] for name in pictures}


class Study:
    """Patients to train on in `here`, others to judge in `there`, and every room up to the proof."""

    def __init__(self, folder: Path, **changes: Any):
        self.folder = folder
        raw = {
            "results": str(folder / "results"),
            "folds": FOLDS,
            "datasets": {"phantom-ct": str(folder / "here"), "phantom-xr": str(folder / "xr")},
            "cohorts": {"there": {"dataset": "phantom-ct", "path": str(folder / "there"), "modality": "ct"}},
            "schedules": {"s": {"epochs": 1, "batch_size": 1, "learning_rate": 1.0}},
            "training": {"net": {"dataset": "phantom-ct", **RECIPE}},
            "models": {"ct": {"classify": "net"}},
        }
        self.config = Config.model_validate({**raw, **changes})

    def ingest(self, *names: str) -> None:
        for name in names:
            ingest.run(self.config, name, paths.images(self.config, name))

    def compare(self, *pairs: tuple[str, str]) -> None:
        for pair in pairs:
            sources = [
                duplicates.Images(name, paths.images(self.config, name), paths.signatures(self.config, name))
                for name in dict.fromkeys(pair)
            ]
            duplicates.run(sources[0], sources[1] if len(sources) > 1 else None, paths.duplicates(self.config, *pair))

    def split(self, dataset: str, protocol: str = "grouped") -> None:
        files = paths.images(self.config, dataset), paths.duplicates(self.config, dataset, dataset)
        split.run(self.config, dataset, *files, protocol, paths.split(self.config, dataset, protocol))

    def prove(self, kind: str = "training", name: str = "net") -> list[dict[str, Any]]:
        assert all(file.exists() for file in workflow.apart_files(self.config, kind, name))
        out = paths.apart(self.config, kind, name)
        apart.run(self.config, kind, name, out)
        return json.loads(out.read_text())["checked"]

    def image_id(self, source: str, file: str) -> str:
        table = read_frame(paths.images(self.config, source), IMAGES)
        return table.loc[table["path"] == seal(file), "image_id"].item()

    def folds(self, protocol: str = "grouped") -> dict[str, int]:
        """Fold by file name."""
        images = read_frame(paths.images(self.config, "phantom-ct"), IMAGES)
        table = images.merge(read_frame(paths.split(self.config, "phantom-ct", protocol), SPLIT), on="image_id")
        return dict(zip(table["path"].map(unseal), table["fold"].astype(int), strict=True))

    def move(self, file: str, fold: int) -> None:
        """Put one image of the split into another fold, by hand."""
        place = paths.split(self.config, "phantom-ct", "grouped")
        table = read_frame(place, SPLIT)
        table.loc[table["image_id"] == self.image_id("phantom-ct", file), "fold"] = fold
        write_table(place, table, SPLIT)


@pytest.fixture
def clean(tmp_path) -> Study:
    write_dataset(tmp_path / "here", *six_patients())
    study = Study(tmp_path)
    study.ingest("phantom-ct")
    study.compare(("phantom-ct", "phantom-ct"))
    study.split("phantom-ct")
    return study


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the same": lambda p: p,
    "resized": lambda p: resized(p, 0.75),
    "recompressed": lambda p: recompressed(p, 40),
    "mirrored": lambda p: p[:, ::-1],
    "figure": figure,
}


def test_a_clean_split_is_proven(clean):
    (checked,) = clean.prove()
    judged = {"judged_images": 4, "judged_images_of_known_groups": 0}
    assert checked == {"recipe": "net", "dataset": "phantom-ct", "protocol": "grouped", **judged}


def test_a_planted_patient_is_refused_by_name(clean):
    folds = clean.folds()
    assert folds["p0-0.png"] == folds["p0-1.png"]
    clean.move("p0-1.png", (folds["p0-0.png"] + 1) % FOLDS)
    one, other = sorted(clean.image_id("phantom-ct", file) for file in ("p0-0.png", "p0-1.png"))
    named = (
        rf"image {one} of phantom-ct and image {other} of phantom-ct are of the same patient; one is in the \w+ part"
    )
    with pytest.raises(PatientLeak, match=named):
        clean.prove()
    assert not paths.apart(clean.config, "training", "net").exists()


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_a_planted_copy_of_another_patient_stays_beside_its_original_and_is_refused_elsewhere(tmp_path, change):
    pictures, patients = six_patients()
    # another name, another patient
    write_dataset(tmp_path / "here", {**pictures, "z.png": change(pictures["p3-0.png"])}, {**patients, "z.png": "p9"})
    study = Study(tmp_path)
    study.ingest("phantom-ct")
    study.compare(("phantom-ct", "phantom-ct"))
    study.split("phantom-ct")
    folds = study.folds()
    assert folds["z.png"] == folds["p3-0.png"] == folds["p3-1.png"]
    study.prove()
    study.move("z.png", (folds["z.png"] + 1) % FOLDS)
    ids = sorted(study.image_id("phantom-ct", file) for file in ("z.png", "p3-0.png"))
    why = "the same pixels" if change is COPIES["the same"] else r"a near-duplicate \(r = (0\.9\d|1\.00)\)"
    with pytest.raises(PatientLeak, match=rf"image {ids[0]} .* image {ids[1]} of phantom-ct: {why}"):
        study.prove()


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_a_cohort_that_holds_a_copy_of_a_training_image_is_refused_by_name(clean, change):
    folds = clean.folds()
    trained = next(file for file, fold in folds.items() if fold == 2)
    pictures = {"new.png": chest(900, 96, 96), "old.png": change(cv2.imread(str(clean.folder / "here" / trained), 0))}
    write_dataset(clean.folder / "there", pictures, {"new.png": "n", "old.png": "o"})
    clean.ingest("there")
    clean.compare(("phantom-ct", "there"))
    one, other = clean.image_id("phantom-ct", trained), clean.image_id("there", "old.png")
    named = rf"1 images of there are not new .*image {one} of phantom-ct and image {other} of there: .*its train part"
    with pytest.raises(PatientLeak, match=named):
        clean.prove("cohorts", "there")


def test_a_cohort_that_shares_a_patient_with_the_training_is_refused_by_name(clean):
    trained = next(file for file, fold in clean.folds().items() if fold == 2)
    pictures = {"a.png": chest(901, 96, 96), "b.png": chest(902, 96, 96)}
    write_dataset(clean.folder / "there", pictures, {"a.png": trained.split("-")[0], "b.png": "stranger"})
    clean.ingest("there")
    clean.compare(("phantom-ct", "there"))
    other = clean.image_id("there", "a.png")
    with pytest.raises(PatientLeak, match=rf"of phantom-ct and image {other} of there are of the same patient"):
        clean.prove("cohorts", "there")


def test_a_cohort_may_hold_what_was_only_tested_on_and_strangers(clean):
    tested = next(file for file, fold in clean.folds().items() if fold == 0)
    pictures = {"a.png": cv2.imread(str(clean.folder / "here" / tested), 0), "b.png": chest(902, 96, 96)}
    write_dataset(clean.folder / "there", pictures, {"a.png": "x", "b.png": "y"})
    clean.ingest("there")
    clean.compare(("phantom-ct", "there"))
    assert clean.prove("cohorts", "there")[0]["judged_images"] == 2


def test_what_a_network_started_from_counts_as_seen(clean):
    """Pneumonia before COVID-19: a film of the first training must not be tested on in the second."""
    (clean.folder / "xr").symlink_to(clean.folder / "here")  # the same patients, as another dataset
    parent = {"dataset": "phantom-ct", **RECIPE}
    training = {"parent": parent, "net": {"dataset": "phantom-xr", **RECIPE, "init_from": "parent"}}
    study = Study(clean.folder, training=training, models={})
    study.ingest("phantom-xr")
    study.compare(("phantom-xr", "phantom-xr"), ("phantom-ct", "phantom-xr"))
    study.split("phantom-xr")
    assert [one["recipe"] for one in study.prove("training", "net")] == ["net", "parent"]  # folds are the same
    other = training | {"parent": {**parent, "fold": 1}}
    with pytest.raises(
        PatientLeak, match=r"of phantom-xr are not new to a network trained on phantom-ct.*same patient"
    ):
        Study(clean.folder, training=other, models={}).prove("training", "net")


def test_a_network_may_not_start_from_another_fold_of_its_dataset(clean):
    parent = {"dataset": "phantom-ct", **RECIPE, "fold": 2}
    net = {"dataset": "phantom-ct", **RECIPE, "init_from": "parent"}
    with pytest.raises(PatientLeak, match="4 images of phantom-ct are not new to a network trained on phantom-ct"):
        Study(clean.folder, training={"parent": parent, "net": net}, models={}).prove()
    kin = parent | {"fold": 0, "regime": "scratch_wavelet"}
    assert len(Study(clean.folder, training={"parent": kin, "net": net}, models={}).prove()) == 2


def test_a_published_split_is_let_through_and_counted(clean):
    recipe = {"dataset": "phantom-ct", **RECIPE, "protocol": "published"}
    study = Study(clean.folder, training={"net": recipe})
    study.split("phantom-ct", "published")
    (checked,) = study.prove()
    folds = study.folds("published")
    alone = sum(fold == 0 == folds[file.replace("-0", "-1")] for file, fold in folds.items() if "-0" in file)
    assert checked["judged_images_of_known_groups"] == checked["judged_images"] - 2 * alone > 0


def test_the_commands_say_the_pair_and_exit_with_3(clean, capsys):
    folds = clean.folds()
    clean.move("p0-1.png", (folds["p0-0.png"] + 1) % FOLDS)
    file = clean.folder / "study.yaml"
    file.write_text(json.dumps(clean.config.model_dump(mode="json")))
    out = clean.folder / "proof.json"
    assert main(["apart", "training", "net", "--config", str(file), "--out", str(out)]) == 3
    assert "are of the same patient" in capsys.readouterr().err
    assert main(["apart", "training", "nett", "--config", str(file), "--out", str(out)]) == 2
    images, signs = (str(place(clean.config, "phantom-ct")) for place in (paths.images, paths.signatures))
    pairs = clean.folder / "pairs.parquet"
    assert main(["duplicates", "a", "--images", images, "--signatures", signs, "--out", str(pairs)]) == 0
    assert pairs.exists()
    assert main(["duplicates", "a", "b", "--images", images, "--signatures", signs, "--out", str(pairs)]) == 2


def test_images_without_signatures_are_told(clean):
    study = Study(clean.folder, cohorts={"plain": {"path": str(clean.folder / "here"), "modality": "ct"}})
    study.ingest("plain")
    with pytest.raises(BadTable, match=r"12 accepted images of plain have no signature.*run ingest again, with"):
        study.compare(("plain", "plain"))
