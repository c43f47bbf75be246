"""The names for notebooks: docs/api.md is run, with the networks that come along."""

from __future__ import annotations

import contextlib
import inspect
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import synthetic_table
from pages import DOCS, blocks
from PIL import Image as Picture

import covidpipe
from covidpipe import api
from covidpipe.errors import BadInput, BadTable, UsageError
from covidpipe.io.files import write_pieces, write_table
from covidpipe.schemas import INFECTION, PATIENTS

PAGE = "api.md"


@pytest.fixture()
def scans(tmp_path, monkeypatch) -> Path:
    """The folder results/scans of the page, with a cohort of three patients."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "scans"
    folder.mkdir(parents=True)
    write_pieces(folder / "infection.parquet", [synthetic_table.patients(0, 3, slices=4)], INFECTION)
    write_table(folder / "patients.parquet", [], PATIENTS)
    return folder


def test_the_page_prints_what_it_says(scans):
    names: dict = {}
    printed = []
    for _, code in blocks(PAGE, "python"):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, names)
        printed.append(out.getvalue())
    assert printed == [text for _, text in blocks(PAGE, "text")]
    found, known = names["found"], names["truth"]
    assert found.method == "alom2020" and found.infection_mask.shape == known.lung_mask.shape
    overlap = 2 * (found.lung_mask & known.lung_mask).sum() / (found.lung_mask.sum() + known.lung_mask.sum())
    assert overlap > 0.9


def test_every_name_is_explained_typed_and_on_the_page():
    page = (DOCS / PAGE).read_text()
    assert set(api.__all__) == set(covidpipe.__all__) <= set(dir(covidpipe))
    stub = (Path(covidpipe.__file__).parent / "__init__.pyi").read_text()
    packages = {path.stem for path in Path(covidpipe.__file__).parent.iterdir() if path.suffix in ("", ".py")}
    for name in covidpipe.__all__:
        thing = getattr(covidpipe, name)
        assert f"`{name}`" in page and f"{name} as {name}," in stub and len(thing.__doc__ or "") > 40, name
        assert name not in packages, name
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            assert signature.return_annotation and all(
                p.annotation is not p.empty for p in signature.parameters.values()
            )


def test_importing_it_imports_nothing_else():
    code = "import sys, covidpipe; print(sorted(m for m in sys.modules if m.startswith('covidpipe') or m == 'numpy'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['covidpipe']\n"
    with pytest.raises(AttributeError, match=r"no attribute 'read_imag'.*read_image"):
        _ = covidpipe.read_imag


def test_a_film_is_read_with_its_meaning_and_a_broken_file_is_told(tmp_path):
    film, _ = covidpipe.phantom_image(2, modality="xr", size=96)
    Picture.fromarray((film.array / 16).astype(np.uint8)).save(tmp_path / "film.png")
    image = covidpipe.read_image(tmp_path / "film.png", modality="xr")
    assert (image.modality, image.intensity, image.array.shape) == ("xr", "radiograph", film.array.shape)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(BadInput):
        covidpipe.read_image(str(tmp_path / "broken.png"))


def test_what_does_not_go_together_is_told(scans, tmp_path):
    image, truth = covidpipe.phantom_image(1, size=64)
    nothing = covidpipe.Masks(np.zeros((64, 64), bool), np.zeros((64, 64), bool))
    assert covidpipe.measure(image, nothing)["infection_percent"] is None
    film = covidpipe.Image(image.array, None, "xr", "radiograph")
    for wrong, told in (
        (lambda: covidpipe.draw_overlay(image, nothing), "no lung"),
        (lambda: covidpipe.measure(covidpipe.Image(image.array[1:]), truth), r"wanted the image's shape \(63, 64\)"),
        (lambda: covidpipe.predict_masks(film, "khan2020"), "What fits: alom2020"),
        (lambda: covidpipe.enhance_image(covidpipe.Image(image.array)), "What do the pixel values mean"),
        (lambda: covidpipe.phantom_image(modality="mr"), "wanted ct or xr"),
    ):
        with pytest.raises(UsageError, match=told):
            wrong()
    with pytest.raises(BadTable, match=r"wanted a folder with infection\.parquet"):
        covidpipe.open_cohort(tmp_path)
