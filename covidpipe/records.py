"""What a dataset's parser says of an image, and how image tables are cut into shards."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


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


def shard_rows(table: pa.Table, shard: int, size: int) -> pa.Table:
    """Rows of one shard of an image table, in their stored order.

    Parameters
    ----------
    table : pyarrow.Table
        ``images.parquet``, accepted rows or not.
    shard : int
        From 0.
    size : int
        Images of a shard.

    Examples
    --------
    >>> shard_rows(pa.table({"n": range(5)}), 1, 3)["n"].to_pylist()
    [3, 4]
    """
    return table.slice(shard * size, size)
