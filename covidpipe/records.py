"""What a dataset's parser says of an image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageRecord:
    """One image of a dataset or list, before any pixel was read.

    Parameters
    ----------
    path : str
        Relative to the dataset's folder.
    frame : int or None
        Frame of a multi-frame file; None stands for every frame.
    patient, study, series : str, optional
        Plain identifiers; ingest hashes them. They come before what a header says.
    slice_index : int, optional
    label : bool, optional
        True if the image shows what the dataset is labelled for (``DatasetSpec.positive``).
    lesion_free : bool, optional
        True if the dataset says that the lungs show no lesion of any kind; a false `label` alone does not say so.
    lung_mask_path, infection_mask_path : str, optional
        Relative to the dataset's folder.
    published_part : {"train", "test"}, optional
        Where the dataset's authors put the image, if their list is known.
    modality, intensity : str, optional
        As in `covidpipe.io.image.Image`.
    """

    path: str
    frame: int | None = 0
    patient: str | None = None
    study: str | None = None
    series: str | None = None
    slice_index: int | None = None
    label: bool | None = None
    lesion_free: bool | None = None
    lung_mask_path: str | None = None
    infection_mask_path: str | None = None
    published_part: str | None = None
    modality: str | None = None
    intensity: str | None = None
