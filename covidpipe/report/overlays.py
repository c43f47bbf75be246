"""Which cases the report shows, and how: the image with the lungs outlined and the infection filled.

Pure functions of arrays and tables. A picture is cropped to the lungs, because text burned into an image stands in
its margins and may name the patient.
"""

from __future__ import annotations

import base64
import io
from itertools import zip_longest

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

SIDE_PX = 320
THUMBNAIL_PX = 128
MARGIN = 0.15
# Okabe and Ito's color-blind safe pair, the lighter blue: their darker one disappears in black lungs.
LUNG_COLOR = (86, 180, 233)
INFECTION_COLOR = (230, 159, 0)
INFECTION_OPACITY = 0.45
HEAT_OPACITY = 0.6
# Cividis (Nunez, Anderton and Renslow 2018), made to look alike with and without color blindness, in nine steps.
RAMP = np.array(
    [
        (0, 34, 78), (26, 56, 111), (61, 78, 107), (87, 100, 110), (112, 122, 117),
        (138, 145, 119), (166, 168, 110), (198, 195, 93), (254, 232, 56),
    ],
    np.float32,
)  # fmt: skip


def choose_cases(infection: pd.DataFrame, cases: int, seed: int) -> pd.DataFrame:
    """Choose rows to be shown: the highest, the least certain, the lowest above 0 and random ones, in turn.

    Parameters
    ----------
    infection : DataFrame
        Rows of the table `infection`; those with a percentage and a lung are eligible.
    cases : int
        Most rows to choose, spread over modalities and methods.
    seed : int
        Of the random ones.

    Returns
    -------
    DataFrame
        The chosen rows, by modality and method, with the column `chosen`: why each is shown.
    """
    eligible = infection[infection["infection_percent"].notna() & (infection["lung_px"] > 0)]
    generator = np.random.default_rng(seed)
    queues = []
    for _, group in eligible.groupby(["modality", "method"], sort=True):
        ranked = group.sort_values(["infection_percent", "image_id"])
        lowest = ranked.index[ranked["infection_percent"] > 0].tolist()
        shuffled = ranked.index.to_numpy()[generator.permutation(len(ranked))].tolist()
        doubtful, doubt = least_certain(group, infection)
        reasons = ("among the highest", doubt, "among the lowest", "at random")
        turns = zip_longest(lowest[::-1][:cases], doubtful[:cases], lowest[:cases], shuffled[:cases])
        queue: dict[int, str] = {}
        for turn in turns:
            for row, why in zip(turn, reasons, strict=True):
                if row is not None:
                    queue.setdefault(row, why)
        queues.append(list(queue.items()))
    in_turn = [item for round_ in zip_longest(*queues) for item in round_ if item is not None][:cases]
    chosen = eligible.loc[[row for row, _ in in_turn]].assign(chosen=[why for _, why in in_turn])
    return chosen.sort_values(
        ["modality", "method", "infection_percent", "image_id"], ascending=[True, True, False, True]
    )


def least_certain(group: pd.DataFrame, infection: pd.DataFrame) -> tuple[list[int], str]:
    """Rows of one modality and method by falling doubt, and what the doubt rests on.

    The widest intervals of infection_percent where there are any; else, of a method that screens, the probabilities
    nearest to where it decides; else the images that another method judges most differently. Our reading.

    Parameters
    ----------
    group : DataFrame
        Eligible rows of one modality and method.
    infection : DataFrame
        The whole table.

    Returns
    -------
    (list of int, str)
        Index labels of `group`, without those of which nothing is known.
    """
    width = group["infection_percent_high"] - group["infection_percent_low"]
    if width.notna().any():
        return _by(-width.dropna(), group), "least certain: the widest interval"
    probability, positive = group["covid_probability"].dropna(), group["covid_positive"].dropna().astype(bool)
    if positive.any() and not positive.all():  # the threshold lies between the highest "no" and the lowest "yes"
        edge = (probability[~positive].max() + probability[positive].min()) / 2
        return _by((probability - edge).abs(), group), "least certain: screened closest to the threshold"
    others = infection[infection["method"] != group["method"].iloc[0]].set_index("image_id")["infection_percent"]
    others = others.dropna().groupby(level=0).mean()
    apart = (group["infection_percent"] - group["image_id"].map(others)).abs().dropna()
    return _by(-apart[apart > 0], group), "least certain: the methods are far apart"


def _by(values: pd.Series, group: pd.DataFrame) -> list[int]:
    ranked = group.loc[values.index, ["image_id"]].assign(doubt=values.astype(float))
    return ranked.sort_values(["doubt", "image_id"]).index.tolist()


def choose_examples(infection: pd.DataFrame, each: int, seed: int) -> pd.DataFrame:
    """For each reason code on rows with a lung, up to `each` rows at random, of different images, in `flag` the code.

    A picture is cropped to the lungs, so what has none cannot be shown.

    Parameters
    ----------
    infection : DataFrame
    each, seed : int
    """
    rows = infection[infection["lung_px"].fillna(0) > 0].explode("qc_reasons").dropna(subset=["qc_reasons"])
    rows = rows.rename(columns={"qc_reasons": "flag"}).sort_values(["flag", "image_id", "method"])
    rows = rows.drop_duplicates(["flag", "image_id"])
    shuffled = rows.iloc[np.random.default_rng(seed).permutation(len(rows))]
    return shuffled.groupby("flag").head(each).sort_values(["flag", "image_id"])


def to_grey(array: np.ndarray, intensity: str | None, window_hu: tuple[float, float]) -> np.ndarray:
    """Bring an image to 0-255 for display: the Hounsfield window, else its own smallest and largest value.

    Parameters
    ----------
    array : ndarray, shape (rows, columns)
    intensity : {"hounsfield", "windowed_8bit", "radiograph", None}
    window_hu : (float, float)

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
    """
    values = np.asarray(array, np.float32)
    low, high = window_hu if intensity == "hounsfield" else (float(values.min()), float(values.max()))
    return np.round(np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def lung_box(lung_mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the lungs' bounding box and a margin of 15 % of its sides.

    >>> mask = np.zeros((100, 100), bool)
    >>> mask[40:60, 10:90] = True
    >>> lung_box(mask)
    (slice(37, 63, None), slice(0, 100, None))
    """
    box = []
    for axis, length in zip((1, 0), lung_mask.shape, strict=True):
        inside = np.flatnonzero(lung_mask.any(axis=axis))
        first, stop = int(inside[0]), int(inside[-1]) + 1
        margin = round(MARGIN * (stop - first))
        box.append(slice(max(first - margin, 0), min(stop + margin, length)))
    return box[0], box[1]


def overlay(grey: np.ndarray, lung_mask: np.ndarray, infection_mask: np.ndarray, side_px: int = SIDE_PX) -> np.ndarray:
    """Draw the lungs' outline and the infection over the image, cropped to the lungs (there must be some).

    Parameters
    ----------
    grey : ndarray of uint8, shape (rows, columns)
    lung_mask, infection_mask : ndarray of bool, shape (rows, columns)
    side_px : int
        Longer side of the picture.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    box = lung_box(lung_mask)
    picture = np.repeat(fitted(grey[box], side_px)[..., None], 3, axis=2).astype(np.float32)
    lungs = fitted(lung_mask[box].astype(np.uint8) * 255, side_px) > 127
    infected = fitted((infection_mask & lung_mask)[box].astype(np.uint8) * 255, side_px) > 127
    picture[infected] += INFECTION_OPACITY * (np.array(INFECTION_COLOR, np.float32) - picture[infected])
    picture[_outline(infected, 1)] = INFECTION_COLOR
    picture[_outline(lungs, 2 if side_px > THUMBNAIL_PX else 1)] = LUNG_COLOR
    return np.round(picture).astype(np.uint8)


def heat(
    grey: np.ndarray, values: np.ndarray, lung_mask: np.ndarray, where: np.ndarray | None = None, side_px: int = SIDE_PX
) -> np.ndarray:
    """Lay colors for 0 to 1 over the image, cropped to the lungs (there must be some), whose outline is drawn.

    Parameters
    ----------
    grey : ndarray of uint8, shape (rows, columns)
    values : ndarray of float, shape (rows, columns)
    lung_mask : ndarray of bool, shape (rows, columns)
    where : ndarray of bool, shape (rows, columns), optional
        Pixels that are colored. Default: all.
    side_px : int
        Longer side of the picture.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    box = lung_box(lung_mask)
    picture = np.repeat(grey[box][..., None], 3, axis=2).astype(np.float32)
    blended = picture + HEAT_OPACITY * (colors(values[box]) - picture)
    colored = blended if where is None else np.where(where[box][..., None], blended, picture)
    shown = fitted(np.round(colored).astype(np.uint8), side_px).copy()
    shown[_outline(fitted(lung_mask[box].astype(np.uint8) * 255, side_px) > 127, 1)] = LUNG_COLOR
    return shown


def colors(values: np.ndarray) -> np.ndarray:
    """Colors of numbers from 0 to 1; what lies beyond has that of the end.

    >>> colors(np.array([0.0, 2.0])).tolist()
    [[0.0, 34.0, 78.0], [254.0, 232.0, 56.0]]
    """
    steps = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(values, steps, RAMP[:, k]) for k in range(3)], axis=-1)


def ramp_uri() -> str:
    """The scale of `heat` as a picture."""
    return data_uri(np.repeat(np.round(colors(np.linspace(0, 1, 96)))[None], 10, axis=0).astype(np.uint8))


def fitted(plane: np.ndarray, side_px: int) -> np.ndarray:
    """A picture (rows, columns) or (rows, columns, 3) of uint8 at another size, its longer side `side_px`."""
    rows, columns = plane.shape[:2]
    scale = side_px / max(rows, columns)
    shape = (max(round(columns * scale), 1), max(round(rows * scale), 1))  # Pillow counts width first
    return np.asarray(Image.fromarray(plane).resize(shape, Image.Resampling.BILINEAR))


def _outline(mask: np.ndarray, thickness: int) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, iterations=thickness)


def data_uri(picture: np.ndarray) -> str:
    """A picture (rows, columns, 3) as a JPEG inside the page; 4:4:4, so that colored lines stay sharp."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
