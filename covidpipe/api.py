"""What a notebook needs: an image in, masks and numbers out, and a cohort's tables as data frames.

The names are offered by `covidpipe` itself (``covidpipe.read_image``) and stay as they are; docs/api.md shows them at
work.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from covidpipe import harmonize, models, wavelet
from covidpipe.config import Config, load
from covidpipe.errors import BadTable, CovidpipeError, UsageError, choose
from covidpipe.io.image import Image
from covidpipe.registry import METHODS, MODELS

if TYPE_CHECKING:
    import keras
    import pandas as pd

__all__ = [
    "Cohort",
    "CovidpipeError",
    "Image",
    "Masks",
    "build_model",
    "draw_overlay",
    "enhance_image",
    "list_models",
    "measure",
    "open_cohort",
    "phantom_image",
    "predict_masks",
    "read_image",
]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Masks:
    """Lungs and infection of one image, on its own grid.

    Parameters
    ----------
    lung_mask, infection_mask : ndarray of bool, (rows, columns)
    method : str, optional
        What found them; None where they were drawn.
    covid_probability : float, optional
        Of a method that screens.
    covid_positive : bool, optional
    reasons : tuple of str
        Reason codes, such as ``screened_negative``: then nothing was segmented.
    models : tuple of str
        The networks that took part, by name and hash of their weights.
    pneumonia_probability : float, optional
        Of a film, where the config names a network that tells it: pneumonia of any cause.
    pneumonia_positive : bool, optional
    """

    lung_mask: Mask
    infection_mask: Mask
    method: str | None = None
    covid_probability: float | None = None
    covid_positive: bool | None = None
    reasons: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    pneumonia_probability: float | None = None
    pneumonia_positive: bool | None = None


@dataclass(frozen=True)
class Cohort:
    """The tables of a quantified cohort, each read when it is asked for.

    Parameters
    ----------
    folder : Path
        Holds infection.parquet and its companions.
    """

    folder: Path

    @functools.cached_property
    def infection(self) -> pd.DataFrame:
        """One row for each image and method: `infection.parquet`."""
        from covidpipe.io.hive import infection_in

        return self._read("infection", infection_in(self.folder))

    @functools.cached_property
    def patients(self) -> pd.DataFrame:
        """One row for each patient, study, modality and method."""
        return self._read("patients")

    @functools.cached_property
    def summary(self) -> pd.DataFrame:
        """The cohort described, by covariates if there are any."""
        return self._read("summary")

    @functools.cached_property
    def rejected(self) -> pd.DataFrame:
        """What was not quantified, and why."""
        return self._read("rejected")

    def _read(self, name: str, path: Path | None = None) -> pd.DataFrame:
        from covidpipe.io.files import read_frame
        from covidpipe.schemas import TABLES

        return read_frame(path or self.folder / f"{name}.parquet", TABLES[name])


def open_cohort(folder: str | Path) -> Cohort:
    """Open the folder that ``covidpipe cohort ... --out FOLDER`` wrote.

    Parameters
    ----------
    folder : path

    Raises
    ------
    BadTable
        There is no infection table in it.
    """
    from covidpipe.io.hive import infection_in

    place = Path(folder)
    if not infection_in(place).exists():
        raise BadTable(
            f"{place}: wanted a folder with infection.parquet, found none. `covidpipe cohort --out` makes one."
        )
    return Cohort(place)


def read_image(path: str | Path, frame: int = 0, *, modality: str | None = None, intensity: str | None = None) -> Image:
    """Read one slice or film from DICOM, NIfTI, PNG, JPEG or TIFF, checked as a cohort's images are.

    Parameters
    ----------
    path : path
    frame : int
        Frame of a multi-frame file, or axial slice of a volume, from 0.
    modality : {"ct", "xr"}, optional
        Default: what the header says, else a guess.
    intensity : {"hounsfield", "windowed_8bit", "radiograph"}, optional
        What pixel values mean. Default: decided from the file.

    Returns
    -------
    Image
        ``array`` (rows, columns), bright is dense; ``spacing_mm``; ``modality``; ``intensity``.

    Raises
    ------
    BadInput
        The file cannot be used; the message says what was found and how to repair it.
    """
    from covidpipe.io.read import read_image as read

    return read(Path(path), frame, modality=modality, intensity=intensity)


def phantom_image(seed: int = 0, *, modality: str = "ct", size: int = 192) -> tuple[Image, Masks]:
    """A synthetic slice or film with its exactly known masks: to try things on, never to train on.

    Parameters
    ----------
    seed : int
        Another seed makes another patient.
    modality : {"ct", "xr"}
        The slice with most infection, or a film of the same body.
    size : int
        Rows and columns.

    Examples
    --------
    >>> image, truth = phantom_image(1, size=64)
    >>> image.array.shape, image.modality, bool((truth.infection_mask <= truth.lung_mask).all())
    ((64, 64), 'ct', True)
    """
    from covidpipe import phantoms

    if modality not in ("ct", "xr"):
        raise UsageError(f"modality: wanted ct or xr, found `{modality}`.")
    body = phantoms.phantom_volume(seed, size=size)
    if modality == "xr":
        film = phantoms.project(body, size=size)
        return Image(film.image, film.spacing_mm, "xr", "radiograph"), Masks(film.lung_mask, film.infection_mask)
    n = int(np.argmax(body.infection_mask.sum(axis=(1, 2))))
    image = Image(body.hu[n], body.spacing_mm[1:], "ct", "hounsfield")
    return image, Masks(body.lung_mask[n], body.infection_mask[n])


def enhance_image(
    image: Image, reading: str = "paper_haar", *, config: Config | str | Path | None = None
) -> NDArray[np.float32]:
    """An image as Khan et al.'s screening sees it: brought to the grid, its grey levels windowed, wavelet-enhanced.

    Parameters
    ----------
    image : Image
    reading : str
        How the paper's wavelet is read: a key of ``covidpipe.registry.READINGS``.
    config : Config or path, optional
        For `harmonize`.

    Returns
    -------
    ndarray of float32, (size, size)
        Grey levels, 0 to 255 and a little beyond.
    """
    grid = _config(config).harmonize
    grey, _ = harmonize.harmonize(image.array, grid.source_size, intensity=_intensity(image), window_hu=grid.window_hu)
    return wavelet.enhance(grey, reading)


def predict_masks(image: Image, method: str = "khan2020", *, config: Config | str | Path | None = None) -> Masks:
    """Find lungs and infection in one image, as `covidpipe cohort` does, by the networks that the config names.

    The networks are loaded at the first call and kept.

    Parameters
    ----------
    image : Image
    method : {"khan2020", "alom2020", "fusion"}
    config : Config or path, optional
        Default: the networks that come along.

    Raises
    ------
    UsageError
        The method does not exist, or is not defined for the image's modality.
    CovidpipeError
        A network is missing.
    """
    from covidpipe.inference import methods

    spec = METHODS[choose(method, METHODS, "method")]
    if image.modality not in spec.roles:
        fitting = ", ".join(name for name, other in METHODS.items() if image.modality in other.roles) or "none"
        raise UsageError(f"{method} is not defined for modality `{image.modality}`. What fits: {fitting}.")
    settings = _config(config)
    networks = _networks(settings.model_dump_json(), image.modality, method)
    planes = methods.to_grids(
        Image(image.array, image.spacing_mm, image.modality, _intensity(image)), methods.grids_of(networks, settings)
    )
    (found,) = methods.find(methods.to_batch([planes]), [method], networks, settings)[method]
    return Masks(
        *found.to_native(*image.array.shape),
        method,
        found.covid_probability,
        found.covid_positive,
        found.reasons,
        tuple(network.model_id for network in networks.values()),
        found.pneumonia_probability,
        found.pneumonia_positive,
    )


@functools.lru_cache(maxsize=4)
def _networks(settings: str, modality: str, method: str) -> dict[str, Any]:
    from covidpipe.inference.cohorts import load_networks

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up remarks are not ours
    config = Config.model_validate_json(settings)
    return dict(load_networks(config, [modality], {modality: [method]}, optional=True)[modality])


def measure(image: Image, masks: Masks, *, config: Config | str | Path | None = None) -> dict[str, Any]:
    """The measured columns of an image's row: percentages, counts, areas, lesions, quality.

    Parameters
    ----------
    image : Image
    masks : Masks
        On the image's grid.
    config : Config or path, optional
        For `tissue`: which Hounsfield units are ground glass and consolidation.

    Returns
    -------
    dict
        Columns of infection.parquet (`covidpipe codebook`); undefined is None, never 0.

    Examples
    --------
    >>> lung = np.zeros((64, 64), bool)
    >>> lung[16:48, 8:56] = True
    >>> infection = np.zeros_like(lung)
    >>> infection[16:24, 8:56] = True
    >>> film = Image(np.zeros((64, 64)), None, "xr", "radiograph")
    >>> measure(film, Masks(lung, infection))["infection_percent"]
    25.0
    """
    from covidpipe.quantify.percentages import quantify_image

    for name in ("lung_mask", "infection_mask"):
        shape = getattr(masks, name).shape
        if shape != image.array.shape:
            raise UsageError(
                f"{name}: wanted the image's shape {image.array.shape}, found {shape}. Give the masks of this "
                "very image, such as `predict_masks` makes them."
            )
    return quantify_image(
        masks.infection_mask,
        masks.lung_mask,
        image.spacing_mm,
        hu=image.array if image.intensity == "hounsfield" else None,
        tissue=_config(config).tissue,
        screened_negative="screened_negative" in masks.reasons,
    )


def draw_overlay(
    image: Image, masks: Masks, *, side_px: int = 512, config: Config | str | Path | None = None
) -> NDArray[np.uint8]:
    """The image cropped to the lungs, these outlined (blue) and the infection filled (orange), as in the report.

    What lies outside of the body is blackened: names may be burned in there.

    Parameters
    ----------
    image : Image
    masks : Masks
        With some lung.
    side_px : int
        Longer side of the picture.
    config : Config or path, optional
        For the Hounsfield window.

    Returns
    -------
    ndarray of uint8, (height, width, 3)
        For ``matplotlib.pyplot.imshow`` or ``PIL.Image.fromarray``.

    Raises
    ------
    UsageError
        There is no lung to crop it to.
    """
    from covidpipe.report import overlays
    from covidpipe.report.body import without_writing

    if not masks.lung_mask.any():
        raise UsageError(
            "There is no lung in these masks: nothing to crop the picture to. Wanted: a lung_mask with a lung."
        )
    grey = overlays.to_grey(image.array, image.intensity, _config(config).harmonize.window_hu)
    grey = without_writing(grey, masks.lung_mask, image.modality or "ct")
    return overlays.overlay(grey, masks.lung_mask, masks.infection_mask, side_px)


def list_models() -> pd.DataFrame:
    """Every architecture: name, tasks, trainable parameters and input at its source, and the source."""
    import pandas as pd

    return pd.DataFrame(
        {
            "name": spec.name,
            "tasks": list(spec.tasks),
            "parameters": spec.trainable,
            "image_shape": spec.image_shape,
            "reference": spec.reference,
        }
        for spec in MODELS.values()
    ).set_index("name")


def build_model(
    name: str, image_shape: tuple[int, int, int] = (304, 304, 1), classes: int = 2, **options: Any
) -> keras.Model:
    """Build an untrained network; see `covidpipe.models.build` for the arguments.

    Examples
    --------
    >>> build_model("cov_raseg", (48, 40, 1), width=0.125).output_shape
    (None, 48, 40, 2)
    """
    return models.build(name, image_shape, classes, **options)


def _config(given: Config | str | Path | None) -> Config:
    return Config() if given is None else given if isinstance(given, Config) else load(given)


def _intensity(image: Image) -> str:
    if image.intensity is None:
        raise UsageError("What do the pixel values mean? Give Image(..., intensity=), or read the file by read_image.")
    return image.intensity
