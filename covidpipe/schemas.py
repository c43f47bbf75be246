"""Every table that crosses a doorway, declared once.

From one `Column` come the Arrow schema with its field metadata, the codebook, the data package and the check on
every write. Columns are appended, never renamed; `SCHEMA_VERSION` says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from covidpipe.errors import BadTable
from covidpipe.registry import SEVERITY

INF = float("inf")
SCHEMA_VERSION = "1.4.0"

# Why an image is rejected (no percentage is told), or flagged (told with a warning). One sentence each for the
# codebook; the row's own sentence says what was found in that very file.
REASONS: dict[str, str] = {
    # rejected at ingest
    "unreadable": "The file is damaged, truncated or not what its name says.",
    "unsupported_format": "The file is no DICOM, NIfTI, PNG, JPEG or TIFF image.",
    "not_an_image": "The file holds no picture (report, segmentation object, notes, directory).",
    "unsupported_transfer_syntax": "No decoder exists for the way the pixels are compressed.",
    "unsupported_modality": "The image is neither a CT nor a chest X-ray.",
    "not_chest": "The header says that another part of the body was imaged.",
    "not_hounsfield": "A CT without Hounsfield units, and not declared as 8-bit windowed.",
    "color_image": "A colored picture: a photograph, a screenshot or a rendered figure.",
    "too_small": "Fewer than 64 rows or columns: a thumbnail or an icon.",
    "blank": "Every pixel has the same value.",
    "too_large": "More bytes, pixels or frames than the configured limits, or more memory or time to read it.",
    "not_axial": "A CT plane that is not axial: a localizer, a coronal or a sagittal reformat.",
    # rejected by a method
    "method_not_for_modality": "The method is not defined for this modality.",
    "no_model_for_modality": "No trained model was given for this modality.",
    # undefined
    "no_lung": "No lung was found in the image, so a percentage of lung is undefined.",
    # said of a percentage
    "screened_negative": "The classifier found no COVID-19, so nothing was segmented and the percentage is 0.",
    # warnings
    "modality_guessed": "The file does not say its modality; it was decided from the pixels.",
    "modality_uncertain": "The modality was decided from the pixels with a confidence below 0.9.",
    "lung_area_unusual": "The lungs cover less than 5 % or more than 60 % of the image.",
    "single_lung": "Only one lung was found.",
    "gantry_tilt": "The gantry was tilted: areas are those of the tilted plane.",
    "duplicate": "The same pixels occur more than once in this cohort.",
    "no_longer_readable": "The file could not be read a second time to count Hounsfield units: what rests on them is "
    "null.",
    "not_frontal": "The header says that the film was taken from the side; the lungs lie one behind the other.",
    "side_assumed": "The file does not say how the picture lies; as on a radiologist's screen, the patient's right is "
    "taken to be on its left.",
}


@dataclass(frozen=True)
class Column:
    """One column: everything a reader, a program and a check need to know of it.

    Parameters
    ----------
    name : str
    type : pyarrow.DataType
    text : str
        One full sentence.
    unit : str
        Empty for pure numbers and words.
    between : tuple of float, optional
        Smallest and largest allowed value.
    values : tuple of str, optional
        The allowed words; of a column of lists, those of its elements.
    null_means : str
        Empty if the column is never null.
    """

    name: str
    type: pa.DataType
    text: str
    unit: str = ""
    between: tuple[float, float] | None = None
    values: tuple[str, ...] | None = None
    null_means: str = ""

    @property
    def range_text(self) -> str:
        """The allowed values in words, for the codebook."""
        if self.values is not None:
            return " | ".join(self.values)
        if self.between is not None:
            low, high = self.between
            return f"{low:g} to {high:g}" if high != INF else f"at least {low:g}"
        if pa.types.is_boolean(self.type):
            return "true | false"
        if pa.types.is_list(self.type):
            return "any words"
        return "any text" if pa.types.is_string(self.type) else "any value"

    @property
    def facts(self) -> dict[str, str]:
        """What the codebook says of the column; no entry is empty."""
        return {
            "type": str(self.type),
            "unit": self.unit or "none",
            "range": self.range_text,
            "null_means": self.null_means or "never null",
            "text": self.text,
        }

    def field(self) -> pa.Field:
        """The Arrow field, with the column's facts as its metadata."""
        facts = {key: value for key, value in self.facts.items() if key not in ("type", "text")}
        metadata = {"description": self.text, **facts}
        return pa.field(self.name, self.type, nullable=bool(self.null_means), metadata=metadata)


@dataclass(frozen=True)
class TableSpec:
    """A table's name, grain, columns and sort order, and what the folders of a large one are named after."""

    name: str
    grain: str
    columns: tuple[Column, ...]
    sort_by: tuple[str, ...]
    key: tuple[str, ...] = field(default=())
    partition_by: tuple[str, ...] = field(default=())

    @property
    def schema(self) -> pa.Schema:
        metadata = {"table": self.name, "grain": self.grain, "schema_version": SCHEMA_VERSION}
        return pa.schema([column.field() for column in self.columns], metadata=metadata)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def fingerprint(self) -> str:
        """A hash that moves when the table's columns do, so that the stages which write it run again."""
        return hashlib.sha256(repr((SCHEMA_VERSION, self.columns, self.sort_by)).encode()).hexdigest()[:16]


_string = pa.string()
_strings = pa.list_(pa.string())

_IDENTITY = (
    Column("image_id", _string, "Identifier of one image, made from the source file's hash and the frame."),
    Column(
        "patient_id",
        _string,
        "Keyed hash of the patient's identifier; the same patient has the same hash wherever the same key is used.",
        null_means="the file does not say whose image it is",
    ),
    Column("study_id", _string, "Keyed hash of the study.", null_means="the file does not name a study"),
    Column("series_id", _string, "Keyed hash of the series.", null_means="the file does not name a series"),
    Column(
        "slice_index",
        pa.int32(),
        "Position of the image in its series, counted from 0 from the feet upwards where the position is known.",
        between=(0, INF),
        null_means="the image is not part of a series, or its place is unknown",
    ),
    Column(
        "modality",
        _string,
        "Computed tomography (ct) or projection X-ray (xr).",
        values=("ct", "xr"),
        null_means="neither, or unreadable",
    ),
)

IMAGES = TableSpec(
    name="images",
    grain="one row = one file or frame seen, accepted or rejected",
    key=("image_id",),
    sort_by=("patient_id", "series_id", "slice_index", "image_id"),
    columns=(
        *_IDENTITY,
        Column(
            "path",
            _string,
            "The file, relative to the folder that was read. May itself identify a patient: stays inside the study.",
        ),
        Column(
            "frame", pa.int32(), "Frame of a multi-frame file or axial slice of a volume, from 0.", between=(0, INF)
        ),
        Column(
            "modality_source",
            _string,
            "Who said the modality: the file's header, the user, or a guess from the pixels.",
            values=("header", "declared", "guessed"),
            null_means="the modality is unknown",
        ),
        Column(
            "modality_confidence",
            pa.float32(),
            "Probability of the guessed modality.",
            between=(0, 1),
            null_means="the modality was not guessed",
        ),
        Column(
            "intensity",
            _string,
            "What pixel values mean: Hounsfield units, an 8-bit window of them, or a radiograph's grey levels.",
            values=("hounsfield", "windowed_8bit", "radiograph"),
            null_means="unreadable, or not an image",
        ),
        Column(
            "format",
            _string,
            "The file's format.",
            values=("dicom", "nifti", "png", "jpeg", "tiff"),
            null_means="not recognised",
        ),
        Column("transfer_syntax", _string, "UID of a DICOM's pixel encoding.", null_means="not a DICOM"),
        Column(
            "photometric",
            _string,
            "Photometric interpretation as stored; MONOCHROME1 is inverted on reading.",
            null_means="not a DICOM, or not stated",
        ),
        Column("rows", pa.int32(), "Height of the image.", "px", (1, INF), null_means="unreadable"),
        Column("columns", pa.int32(), "Width of the image.", "px", (1, INF), null_means="unreadable"),
        Column(
            "row_spacing_mm", pa.float64(), "Distance between rows.", "mm", (0, INF), null_means="the file does not say"
        ),
        Column(
            "column_spacing_mm",
            pa.float64(),
            "Distance between columns.",
            "mm",
            (0, INF),
            null_means="the file does not say",
        ),
        Column(
            "slice_spacing_mm",
            pa.float64(),
            "Distance between slices, measured from their positions, else the stated one.",
            "mm",
            (0, INF),
            null_means="not a series, or the file does not say",
        ),
        Column(
            "source_sha256",
            _string,
            "SHA-256 of the source file's bytes.",
            null_means="the file could not be read at all",
        ),
        Column(
            "pixel_sha256",
            _string,
            "SHA-256 of the decoded pixels, their shape and type: equal for copies in other containers.",
            null_means="no pixels were decoded",
        ),
        Column(
            "label",
            pa.bool_(),
            "True if the dataset says that the image shows what it is labelled for: COVID-19 infection, or pneumonia.",
            null_means="the image carries no label",
        ),
        Column(
            "lung_mask_path",
            _string,
            "The radiologists' lung mask, relative to the dataset's folder.",
            null_means="the dataset has no such mask",
        ),
        Column(
            "infection_mask_path",
            _string,
            "The radiologists' infection mask, relative to the dataset's folder.",
            null_means="the dataset has no such mask",
        ),
        Column("accepted", pa.bool_(), "True if the image goes on to the networks."),
        Column(
            "reason",
            _string,
            "Why the image was rejected.",
            values=tuple(REASONS),
            null_means="the image was accepted",
        ),
        Column(
            "sentence",
            _string,
            "What was found in this file, what was expected, and how to repair it.",
            null_means="the image was accepted",
        ),
        Column("warnings", _strings, "Reason codes of what is odd about an accepted image."),
        Column(
            "published_part",
            _string,
            "Part in which the dataset's authors used the image.",
            values=("train", "test"),
            null_means="the authors' list is not known, or does not name the image",
        ),
        Column(
            "lesion_free",
            pa.bool_(),
            "True if the dataset says that the lungs in the image show no lesion of any kind.",
            null_means="the dataset does not say",
        ),
        Column(
            "orientation",
            _string,
            "How the file's pixels lie: where columns and rows run to (L\\P and L\\F as a radiologist sees them), or "
            "the axes of a volume (such as RAS). On reading they are turned to the radiologist's, which moves pixels "
            "and changes none.",
            null_means="the file does not say; the radiologist's is assumed",
        ),
        Column(
            "slice_index_source",
            _string,
            "What slice_index rests on: the positions in the headers, their instance numbers, the order of the files' "
            "names, or a list or data set that says it.",
            values=("position", "instance", "file_order", "list"),
            null_means="there is no slice_index",
        ),
        Column(
            "position_mm",
            pa.float64(),
            "Height of the image above the lowest one of its series, along the normal of the slices.",
            "mm",
            (0, INF),
            null_means="not part of a series, or the file does not say",
        ),
        Column(
            "study_day",
            pa.int32(),
            "Days since the patient's first study among the images read together; dates themselves are never written.",
            "d",
            (0, INF),
            null_means="the patient or the date is not known",
        ),
    ),
)

SIGNATURES = TableSpec(
    name="signatures",
    grain="one row = one view of an accepted image of a labelled dataset",
    key=("image_id", "view"),
    sort_by=("image_id", "view"),
    columns=(
        Column("image_id", _string, "Identifier of the image."),
        Column(
            "view",
            _string,
            "The image as it is, or what is left of it without its plain margin.",
            values=("whole", "content"),
        ),
        Column(
            "thumbnail",
            pa.binary(),
            "64 x 64 grey levels, row by row: what copies are recognized by. A picture of the patient, if a small one.",
        ),
    ),
)

SHARDS = TableSpec(
    name="shards",
    grain="one row = one image of the image table, and the shard that it is in",
    key=("image_id",),
    sort_by=("shard", "image_id"),
    columns=(
        Column("image_id", _string, "Identifier of the image."),
        Column("shard", pa.int32(), "Number of the shard. New shards get new numbers.", between=(0, INF)),
        Column("made", _string, "Digest of the rows that the shard was made of: it stays as long as the shard."),
        Column("row", _string, "Digest of the image's row: if it moves, the image goes to a new shard."),
    ),
)

DUPLICATES = TableSpec(
    name="duplicates",
    grain="one row = two images, of one source or of two, that must not stand on two sides of a split",
    key=("image_id", "other_image_id"),
    sort_by=("image_id", "other_image_id"),
    columns=(
        Column("source", _string, "Dataset or cohort of the image."),
        Column("image_id", _string, "Identifier of the image."),
        Column("other_source", _string, "Dataset or cohort of the other image."),
        Column("other_image_id", _string, "Identifier of the other image."),
        Column(
            "reason",
            _string,
            "Why they belong together: they are one picture, or look like neighbouring slices of an unknown patient.",
            values=("near_duplicate", "neighbour"),
        ),
        Column(
            "correlation",
            pa.float64(),
            "How alike the two pictures are, laid over each other.",
            between=(-1, 1.000001),
        ),
    ),
)

INFECTION = TableSpec(
    name="infection",
    grain="one row = one image x one method; rejected images included",
    key=("cohort", "image_id", "method"),
    sort_by=("cohort", "patient_id", "series_id", "slice_index", "image_id", "method"),
    partition_by=("cohort", "modality"),
    columns=(
        Column("cohort", _string, "Name of the cohort the image belongs to."),
        *_IDENTITY,
        Column("method", _string, "How the percentage was found.", values=("khan2020", "alom2020", "fusion")),
        Column(
            "covid_probability",
            pa.float32(),
            "The classifier's probability that the image shows COVID-19.",
            between=(0, 1),
            null_means="the method does not screen, or the image was rejected",
        ),
        Column(
            "covid_positive",
            pa.bool_(),
            "True if covid_probability reaches the classifier's threshold.",
            null_means="the method does not screen, or the image was rejected",
        ),
        Column(
            "lung_px",
            pa.int64(),
            "Lung pixels of the image as stored (native grid): the denominator of infection_percent.",
            "px",
            (0, INF),
            null_means="the image was rejected",
        ),
        Column(
            "infected_px",
            pa.int64(),
            "Lung pixels marked infected: the numerator of infection_percent.",
            "px",
            (0, INF),
            null_means="the image was rejected",
        ),
        Column(
            "lung_mm2", pa.float64(), "Area of lung_px.", "mm2", (0, INF), null_means="rejected, or no pixel spacing"
        ),
        Column(
            "infected_mm2",
            pa.float64(),
            "Area of infected_px.",
            "mm2",
            (0, INF),
            null_means="rejected, or no pixel spacing",
        ),
        Column(
            "infection_percent",
            pa.float64(),
            "100 x infected_px / lung_px: share of the lung pixels of this image that is infected.",
            "%",
            (0, 100),
            null_means="undefined; see qc_reasons",
        ),
        Column(
            "infection_percent_low",
            pa.float64(),
            "Lower end of the prediction interval: where radiologists' infection_percent of this image would lie.",
            "%",
            (0, 100),
            null_means="there is no interval; see interval_status",
        ),
        Column(
            "infection_percent_high",
            pa.float64(),
            "Upper end of the prediction interval: where radiologists' infection_percent of this image would lie.",
            "%",
            (0, 100),
            null_means="there is no interval; see interval_status",
        ),
        Column(
            "left_lung_percent",
            pa.float64(),
            "infection_percent of the patient's left lung.",
            "%",
            (0, 100),
            null_means="no left lung in the picture, taken from the side, or rejected",
        ),
        Column(
            "right_lung_percent",
            pa.float64(),
            "infection_percent of the patient's right lung.",
            "%",
            (0, 100),
            null_means="no right lung in the picture, taken from the side, or rejected",
        ),
        Column(
            "lesion_count",
            pa.int32(),
            "Separate infected regions of this picture; in three dimensions some of them may be one.",
            between=(0, INF),
            null_means="infection_percent is null",
        ),
        Column(
            "largest_lesion_mm2",
            pa.float64(),
            "Area of the largest infected region.",
            "mm2",
            (0, INF),
            null_means="no lesion, no pixel spacing, or rejected",
        ),
        Column(
            "ggo_percent",
            pa.float64(),
            "Ground glass: infected pixels from -750 to below -300 HU (config tissue), as a share of the lung pixels.",
            "%",
            (0, 100),
            null_means="no lung, not in Hounsfield units, or rejected",
        ),
        Column(
            "consolidation_percent",
            pa.float64(),
            "Consolidation: infected pixels from -300 to below 50 HU (config tissue), as a share of the lung pixels.",
            "%",
            (0, 100),
            null_means="no lung, not in Hounsfield units, or rejected",
        ),
        Column(
            "reference_percentile",
            pa.float64(),
            "Share of the lesion-free images of the networks' data sets, unseen by them, where the same method finds "
            "less infection; those with the same percentage count half.",
            "%",
            (0, 100),
            null_means="infection_percent is null, or these networks and settings have no such reference",
        ),
        Column(
            "qc_status",
            _string,
            "ok: use it; warning: read qc_reasons first; rejected: no percentage was computed.",
            values=("ok", "warning", "rejected"),
        ),
        Column("qc_reasons", _strings, "Reason codes, sorted; the codebook explains each.", values=tuple(REASONS)),
        Column(
            "split",
            _string,
            "Part that the image had when these models were trained; do not judge the models on `train`.",
            values=("train", "validation", "test"),
            null_means="not among the training data",
        ),
        Column(
            "source_sha256",
            _string,
            "SHA-256 of the source file's bytes, to join the table back to its files.",
            null_means="the file could not be read at all",
        ),
        Column("classifier_id", _string, "Model and weights' hash.", null_means="no classifier took part"),
        Column("lung_model_id", _string, "Model and weights' hash.", null_means="no lung model took part"),
        Column("infection_model_id", _string, "Model and weights' hash.", null_means="no infection model took part"),
        Column("pipeline_version", _string, "Version of covidpipe."),
        Column("schema_version", _string, "Version of these columns."),
        Column(
            "right_lung_px",
            pa.int64(),
            "Pixels of the patient's right lung: the denominator of right_lung_percent.",
            "px",
            (0, INF),
            null_means="taken from the side, or rejected",
        ),
        Column(
            "left_lung_px",
            pa.int64(),
            "Pixels of the patient's left lung: the denominator of left_lung_percent.",
            "px",
            (0, INF),
            null_means="taken from the side, or rejected",
        ),
        Column(
            "interval_status",
            _string,
            "calibrated: the interval was told; too_few_patients: it is 0 to 100, because the method's error was "
            "measured on fewer patients than interval_level needs; not_calibrated: it was not measured for these "
            "networks and settings, and there is no interval.",
            values=("calibrated", "too_few_patients", "not_calibrated"),
            null_means="infection_percent is null",
        ),
        Column(
            "interval_level",
            pa.float64(),
            "Share of new patients, of one image each, whose interval holds the radiologists' percentage at least, if "
            "they are like those whom the error was measured on.",
            "%",
            (0, 100),
            null_means="there is no interval; see interval_status",
        ),
        Column(
            "interval_patients",
            pa.int32(),
            "Patients whom the error behind the interval was measured on.",
            between=(0, INF),
            null_means="there is no interval; see interval_status",
        ),
        Column(
            "pneumonia_probability",
            pa.float32(),
            "A classifier's probability that the film shows pneumonia of any cause; no percentage depends on it, and "
            "networks trained on films of children in one hospital are not calibrated for adults.",
            between=(0, 1),
            null_means="not asked: a CT, no such network, or the image was rejected",
        ),
        Column(
            "pneumonia_positive",
            pa.bool_(),
            "True if pneumonia_probability reaches the classifier's threshold.",
            null_means="not asked: a CT, no such network, or the image was rejected",
        ),
        Column(
            "pneumonia_model_id",
            _string,
            "Model and weights' hash of the classifier that told pneumonia_probability.",
            null_means="not asked: a CT, no such network, or the image was rejected",
        ),
    ),
)

REJECTED = TableSpec(
    name="rejected",
    grain="one row = one rejected file or frame",
    key=("image_id",),
    sort_by=("reason", "image_id"),
    columns=(
        Column("cohort", _string, "Name of the cohort."),
        *(c for c in IMAGES.columns if c.name in ("image_id", "source_sha256", "frame", "format", "modality")),
        Column("reason", _string, "Why the image was rejected.", values=tuple(REASONS)),
        Column("sentence", _string, "What was found in this file, what was expected, and how to repair it."),
    ),
)

PATIENTS = TableSpec(
    name="patients",
    grain="one row = one patient x study x modality x method; images of unknown patients are not in it",
    key=("cohort", "patient_id", "study_id", "modality", "method"),
    sort_by=("cohort", "patient_id", "study_id", "modality", "method"),
    columns=(
        Column("cohort", _string, "Name of the cohort."),
        *(c for c in _IDENTITY if c.name in ("patient_id", "study_id", "modality")),
        Column("method", _string, "How the percentages were found.", values=("khan2020", "alom2020", "fusion")),
        Column("images", pa.int32(), "Images with a percentage.", between=(0, INF)),
        Column("images_refused", pa.int32(), "Images without one: rejected, or without lung.", between=(0, INF)),
        Column("lung_px", pa.int64(), "Lung pixels over all images with a percentage.", "px", (0, INF)),
        Column("infected_px", pa.int64(), "Infected lung pixels over the same images.", "px", (0, INF)),
        Column(
            "infection_percent",
            pa.float64(),
            "Infected area over lung area, all images taken together: the images' percentages weighted by lung area.",
            "%",
            (0, 100),
            null_means="no image of the patient has lung and a percentage",
        ),
        Column(
            "weighted_by",
            _string,
            "What areas were counted in: mm2 where every image tells its pixel spacing, else px.",
            values=("mm2", "px"),
            null_means="no image of the patient has lung and a percentage",
        ),
        Column("images_warned", pa.int32(), "Images with a percentage whose qc_status is warning.", between=(0, INF)),
        Column(
            "right_lung_percent",
            pa.float64(),
            "infection_percent of the patient's right lung.",
            "%",
            (0, 100),
            null_means="no image shows a right lung and tells it from the left",
        ),
        Column(
            "left_lung_percent",
            pa.float64(),
            "infection_percent of the patient's left lung.",
            "%",
            (0, 100),
            null_means="no image shows a left lung and tells it from the right",
        ),
        Column(
            "ggo_percent",
            pa.float64(),
            "Ground glass as a share of the lung, weighted like infection_percent.",
            "%",
            (0, 100),
            null_means="an image with lung is not in Hounsfield units, or there is none",
        ),
        Column(
            "consolidation_percent",
            pa.float64(),
            "Consolidation as a share of the lung, weighted like infection_percent.",
            "%",
            (0, 100),
            null_means="an image with lung is not in Hounsfield units, or there is none",
        ),
        Column(
            "max_image_percent",
            pa.float64(),
            "Highest infection_percent among the images with at least a tenth of the lung area of the largest.",
            "%",
            (0, 100),
            null_means="no image of the patient has lung and a percentage",
        ),
        Column(
            "max_image_id",
            _string,
            "The image of max_image_percent.",
            null_means="no image of the patient has lung and a percentage",
        ),
        Column(
            "severity_class",
            _string,
            "Class of infection_percent, in percent: the scores 0 to 5 that Pan et al. 2020 "
            "(doi:10.1148/radiol.2020200370) give to each lobe, here given to both lungs together.",
            values=SEVERITY,
            null_means="not a CT, or infection_percent is null",
        ),
        Column(
            "days_since_first_study",
            pa.int32(),
            "Days since the patient's first study among the images read together.",
            "d",
            (0, INF),
            null_means="the date of the study is not known",
        ),
        Column("series", pa.int32(), "Series that the images with a percentage belong to.", between=(0, INF)),
        Column(
            "volume_status",
            _string,
            "Whether there are volumes: of an evenly spaced series (regular), with up to a tenth of its slices missing "
            "and bridged from their neighbors (bridged); or why there are none.",
            values=("regular", "bridged", "no_spacing", "irregular", "missing_slices"),
            null_means="not a CT",
        ),
        Column(
            "volume_series_id",
            _string,
            "The one series that the volumes are of: the one with most slices measured, since the others show the same "
            "lungs again.",
            null_means="no series, or not a CT",
        ),
        Column(
            "volume_slices",
            pa.int32(),
            "Slices of that series that were measured, those without lung included.",
            between=(0, INF),
            null_means="no series, or not a CT",
        ),
        Column(
            "volume_slices_missing",
            pa.int32(),
            "Slices of that series that were refused, or are absent between the others.",
            between=(0, INF),
            null_means="the series has no even spacing, or there is none",
        ),
        Column(
            "slice_spacing_mm",
            pa.float64(),
            "Distance of the slices of that series.",
            "mm",
            (0, INF),
            null_means="not known, or not a CT",
        ),
        Column("lung_ml", pa.float64(), "Volume of the lung.", "ml", (0, INF), null_means="see volume_status"),
        Column("infected_ml", pa.float64(), "Volume of infected lung.", "ml", (0, INF), null_means="see volume_status"),
        Column(
            "lung_covered",
            pa.bool_(),
            "True if the outermost slices show next to no lung; if not, the volumes are of the part that was imaged.",
            null_means="there are no volumes, or no lung",
        ),
    ),
)

SUMMARY = TableSpec(
    name="summary",
    grain="one row = one measure by one method, of all patients or images of a cohort or of one level of a covariate",
    key=("cohort", "modality", "method", "unit", "covariate", "level", "measure", "severity_score"),
    sort_by=("cohort", "modality", "method", "unit", "covariate", "level", "measure", "severity_score"),
    columns=(
        Column("cohort", _string, "Name of the cohort."),
        Column("modality", _string, "Computed tomography (ct) or projection X-ray (xr).", values=("ct", "xr")),
        Column("method", _string, "How the percentages were found.", values=("khan2020", "alom2020", "fusion")),
        Column(
            "unit",
            _string,
            "What is described: patients, each by the first study, or single images.",
            values=("patient", "image"),
        ),
        Column("covariate", _string, "What the cohort is cut by; all stands for the whole."),
        Column(
            "level",
            _string,
            "Value of the covariate; unknown where a patient has none, (suppressed) for all levels that are too small.",
        ),
        Column(
            "measure",
            _string,
            "Mean or quantile (p10 to p90) of infection_percent; share of a severity class, or without a percentage.",
            values=(
                "infection_percent_mean",
                "infection_percent_p10",
                "infection_percent_p25",
                "infection_percent_p50",
                "infection_percent_p75",
                "infection_percent_p90",
                "severity_percent",
                "without_percent",
            ),
        ),
        Column(
            "severity_score",
            pa.int8(),
            "Score of the class whose share is told.",
            between=(0, len(SEVERITY) - 1),
            null_means="the measure is not severity_percent",
        ),
        Column(
            "severity_class",
            _string,
            "The class, in percent, as in patients.parquet.",
            values=SEVERITY,
            null_means="the measure is not severity_percent",
        ),
        Column(
            "value", pa.float64(), "Value of the measure.", "%", (0, 100), null_means="suppressed, or of no unit at all"
        ),
        Column(
            "low",
            pa.float64(),
            "Lower end of the 95 % interval.",
            "%",
            (0, 100),
            null_means="suppressed, or too few patients",
        ),
        Column(
            "high",
            pa.float64(),
            "Upper end of the 95 % interval.",
            "%",
            (0, 100),
            null_means="suppressed, or too few patients",
        ),
        Column("interval", _string, "How the interval was made.", null_means="there is none"),
        Column(
            "n",
            pa.int64(),
            "Units (patients or images) that the value is of.",
            between=(0, INF),
            null_means="suppressed",
        ),
        Column(
            "k",
            pa.int64(),
            "Those of them in the class, or without a percentage.",
            between=(0, INF),
            null_means="suppressed, or not a share",
        ),
        Column(
            "patients",
            pa.int64(),
            "Patients that the units belong to; an image of an unknown patient counts as one.",
            between=(0, INF),
            null_means="suppressed",
        ),
        Column(
            "suppressed",
            pa.bool_(),
            "True if the cell was too small to be told, or would have told another that is (config summary.min_cell).",
        ),
    ),
)

SPLIT = TableSpec(
    name="split",
    grain="one row = one accepted image of a dataset",
    key=("image_id",),
    sort_by=("image_id",),
    columns=(
        Column("image_id", _string, "Identifier of the image."),
        Column("group", _string, "What never crosses: the patient, or the set of copies the image belongs to."),
        Column("fold", pa.int32(), "Fold in which the image is tested, from 0.", between=(0, INF)),
        Column(
            "protocol",
            _string,
            "How the folds were made: groups kept whole (grouped), or as published, where they are not.",
            values=("grouped", "published"),
            null_means="not told",
        ),
    ),
)

_TRANSFORM = tuple(
    Column(name, pa.int32(), text, "px", (0, INF))
    for name, text in (
        ("native_rows", "Height of the image as stored."),
        ("native_columns", "Width of the image as stored."),
        ("size", "Height and width of the harmonized grid."),
        ("top", "First row of the harmonized grid that the image covers."),
        ("left", "First column of the harmonized grid that the image covers."),
        ("height", "Rows of the harmonized grid that the image covers."),
        ("width", "Columns of the harmonized grid that the image covers."),
    )
)

STORE_INDEX = TableSpec(
    name="store_index",
    grain="one row = one image of a harmonized or enhanced store",
    key=("image_id",),
    sort_by=("n",),
    columns=(
        Column("n", pa.int64(), "Position in the store's arrays.", between=(0, INF)),
        Column("image_id", _string, "Identifier of the image."),
        *_TRANSFORM,
        Column("label", pa.bool_(), "True for what the dataset is labelled for.", null_means="no label"),
        Column("has_lung_mask", pa.bool_(), "True if lung_mask holds a radiologist's mask at n."),
        Column("has_infection_mask", pa.bool_(), "True if infection_mask holds a radiologist's mask at n."),
    ),
)

MASK_INDEX = TableSpec(
    name="mask_index",
    grain="one row = one image x one method of a shard",
    key=("image_id", "method"),
    sort_by=("n",),
    columns=(
        Column("n", pa.int64(), "Position in the arrays of masks.zarr.", between=(0, INF)),
        Column("image_id", _string, "Identifier of the image."),
        Column("method", _string, "How the masks were found.", values=("khan2020", "alom2020", "fusion")),
        *_TRANSFORM,
        *(c for c in INFECTION.columns if c.name in ("covid_probability", "covid_positive", "split")),
        *(c for c in INFECTION.columns if c.name in ("classifier_id", "lung_model_id", "infection_model_id")),
        Column("reasons", _strings, "Reason codes found while predicting."),
        *(c for c in INFECTION.columns if c.name.startswith("pneumonia_")),
    ),
)

HISTORY = TableSpec(
    name="history",
    grain="one row = one epoch x one part x one measure",
    key=("epoch", "part", "measure"),
    sort_by=("epoch", "part", "measure"),
    columns=(
        Column("epoch", pa.int32(), "Epoch, from 0.", between=(0, INF)),
        Column("part", _string, "Training or validation.", values=("train", "validation")),
        Column("measure", _string, "Loss or metric."),
        Column("value", pa.float64(), "Its mean over the epoch."),
    ),
)

METRICS_IMAGES = TableSpec(
    name="metrics_images",
    grain="one row = one image x one measure",
    key=("image_id", "measure"),
    sort_by=("image_id", "measure"),
    columns=(
        Column("image_id", _string, "Identifier of the image."),
        Column("patient_id", _string, "Keyed hash of the patient.", null_means="unknown"),
        Column("measure", _string, "What was measured."),
        Column("value", pa.float64(), "Its value.", null_means="undefined for this image"),
    ),
)

METRICS_SUMMARY = TableSpec(
    name="metrics_summary",
    grain="one row = one measure over the test part",
    key=("subject", "measure"),
    sort_by=("subject", "measure"),
    columns=(
        Column("subject", _string, "The model, method or control that was measured."),
        Column("measure", _string, "What was measured."),
        Column("value", pa.float64(), "Its value.", null_means="undefined: no image could be measured"),
        Column("low", pa.float64(), "Lower end of the 95 % interval.", null_means="undefined"),
        Column("high", pa.float64(), "Upper end of the 95 % interval.", null_means="undefined"),
        Column("n", pa.int64(), "Images (or trials, for a proportion).", between=(0, INF)),
        Column("k", pa.int64(), "Successes, for a proportion.", between=(0, INF), null_means="not a proportion"),
        Column("patients", pa.int64(), "Patients.", between=(0, INF), null_means="patients are not known"),
        Column("interval", _string, "How the interval was made.", null_means="there is none"),
        Column(
            "role",
            _string,
            "The model under test, or a control: an answer that needs no look at the lungs.",
            values=("model", "control"),
            null_means="a method's error on a cohort",
        ),
        Column(
            "remark",
            _string,
            "In words: where a control comes near the model, or why a value is missing.",
            null_means="nothing to remark",
        ),
    ),
)

RELIABILITY = TableSpec(
    name="reliability",
    grain="one row = one bin of a classifier's probabilities over the test part, with and without its temperature",
    key=("subject", "temperature", "bin"),
    sort_by=("subject", "temperature", "bin"),
    columns=(
        Column("subject", _string, "The model."),
        Column("temperature", pa.float64(), "What the log-odds were divided by; 1 is the network as it is."),
        Column(
            "bin", pa.int32(), "Number of the bin from 0, by probability; all hold about as many images.", "", (0, INF)
        ),
        Column("lowest", pa.float64(), "Lowest probability in the bin.", between=(0, 1)),
        Column("highest", pa.float64(), "Highest probability in the bin.", between=(0, 1)),
        Column("mean_probability", pa.float64(), "Mean probability: what was said.", between=(0, 1)),
        Column("share", pa.float64(), "Share of the images that are positive, k / n: what was so.", between=(0, 1)),
        Column("low", pa.float64(), "Lower end of the 95 % interval of the share.", between=(0, 1)),
        Column("high", pa.float64(), "Upper end of the 95 % interval of the share.", between=(0, 1)),
        Column("n", pa.int64(), "Images in the bin.", between=(1, INF)),
        Column("k", pa.int64(), "Positive images in the bin.", between=(0, INF)),
        Column("patients", pa.int64(), "Patients (groups) in the bin.", between=(1, INF)),
        Column("interval", _string, "How the interval was made."),
    ),
)

PAPER_CHECKS = TableSpec(
    name="paper_checks",
    grain="one row = one check of one printed number of a paper",
    key=("paper", "check", "source", "row", "regime", "subject", "sentence"),
    sort_by=("paper", "check", "source", "row", "regime", "subject", "sentence"),
    columns=(
        Column("paper", _string, "The paper.", values=("alom2020", "khan2020")),
        Column("check", _string, "What was checked (covidpipe/paper/checks.py)."),
        Column("source", _string, "Where the number is printed."),
        Column("row", _string, "What its row is called there."),
        Column("regime", _string, "Our word for how the row's network was trained; empty where it is no network's."),
        Column("subject", _string, "Class of pixels or variant; empty where there is none."),
        Column(
            "verdict", _string, "Whether some number that rounds to the printed one fits.", values=("fails", "holds")
        ),
        Column("printed", pa.float64(), "The printed number.", null_means="the check is not of one printed number"),
        Column("computed", pa.float64(), "What follows from other printed numbers.", null_means="nothing to compute"),
        Column("sentence", _string, "The check with all its numbers."),
    ),
)

PAPER_FRAMES = TableSpec(
    name="paper_frames",
    grain="one row = one measure of one answer to Khan et al.'s test frames, in one scoring",
    key=("answer", "scoring", "subject", "measure"),
    sort_by=("answer", "scoring", "subject", "measure"),
    columns=(
        Column("answer", _string, "Whose masks are scored: the authors' released weights, or the border painter."),
        Column("scoring", _string, "Which pixels count.", values=("full_frame_exact", "full_frame", "inside_ct")),
        Column("subject", _string, "Class of pixels.", values=("infected", "background", "all")),
        Column("measure", _string, "What was measured, in the words of config/published/."),
        Column("value", pa.float64(), "Its value.", between=(0, 1)),
        Column("low", pa.float64(), "Lower end of the 95 % interval.", null_means="undefined"),
        Column("high", pa.float64(), "Upper end of the 95 % interval.", null_means="undefined"),
        Column("n", pa.int64(), "Frames.", between=(1, INF)),
        Column("interval", _string, "How the interval was made.", null_means="there is none"),
    ),
)


def _of_protocol(protocol: str, says: str) -> tuple[Column, ...]:
    name, none = f"{protocol}_protocol", "not run, or undefined"
    return (
        Column(name, pa.float64(), f"The measure, recomputed here {says}.", null_means=none),
        Column(f"{name}_low", pa.float64(), "Lower end of its 95 % interval.", null_means=none),
        Column(f"{name}_high", pa.float64(), "Upper end of its 95 % interval.", null_means=none),
        Column(f"{name}_n", pa.int64(), "Images that it rests on.", between=(0, INF), null_means=none),
        Column(f"{name}_patients", pa.int64(), "Patients that it rests on.", between=(0, INF), null_means=none),
        Column(f"{name}_dataset", _string, "The dataset.", null_means="not run"),
    )


PAPER_TABLE = TableSpec(
    name="paper_table",
    grain="one row = one measure of one row of a paper's table, or of a control",
    key=("source", "role", "row", "regime", "scoring", "subject", "measure"),
    sort_by=("source", "role", "row", "regime", "scoring", "subject", "measure"),
    columns=(
        Column("source", _string, "The table, figure or section of the paper."),
        Column("row", _string, "What the row is called there, or the name of a control."),
        Column(
            "role",
            _string,
            "A network, that which the authors released, or a control, which looks at no lung or at nearly nothing.",
            values=("network", "released", "control"),
        ),
        Column("network", _string, "The network (`covidpipe models`); empty for a control."),
        Column("regime", _string, "How it is fed and started; empty for a control."),
        Column("scoring", _string, "Which pixels of an exported figure count; empty: of the harmonized image, all."),
        Column("subject", _string, "Class of pixels; empty for labels."),
        Column("measure", _string, "The measure, in the words of config/published/."),
        Column("unit", _string, "% or, for shares of 1, nothing."),
        Column("printed", _string, "The number as it is printed.", null_means="the paper has none"),
        Column("published", pa.float64(), "The printed number.", null_means="the paper has none"),
        Column("published_low", pa.float64(), "Its printed lower end.", null_means="the paper has none"),
        Column("published_high", pa.float64(), "Its printed upper end.", null_means="the paper has none"),
        Column("published_n", pa.int64(), "Images it is said to rest on.", null_means="the paper does not say"),
        *_of_protocol("published", "with images drawn at random, as in the papers"),
        *_of_protocol("grouped", "with patients and copies kept on one side"),
        Column("label", _string, "How far this run is from the paper's.", values=("full", "short", "phantoms")),
    ),
)

LEADERBOARD = TableSpec(
    name="leaderboard",
    grain="one row = one measure of one network, control or published system, of one task",
    key=("task", "data", "role", "row", "regime", "measure"),
    sort_by=("task", "data", "role", "row", "regime", "measure"),
    columns=(
        Column("task", _string, "What is asked.", values=("classify", "segment_lungs", "segment_infection")),
        Column("data", _string, "The dataset; of a published system, its data in words."),
        Column(
            "role",
            _string,
            "A network of covidpipe, a control, which looks at no lung or at nearly nothing, or what others published.",
            values=("network", "control", "reference"),
        ),
        Column("row", _string, "Name of the network (`covidpipe models`), of the control, or of who published."),
        Column("regime", _string, "How the network is fed and started; empty where it is none of ours."),
        Column("measure", _string, "The measure (docs/evaluation.md); of a published system, in its own words."),
        Column("status", _string, "Where the value is from.", values=("measured", "not run", "published")),
        Column("value", pa.float64(), "Its value.", null_means="not run, or undefined"),
        Column("low", pa.float64(), "Lower end of the 95 % interval, by patient.", null_means="not run, or undefined"),
        Column("high", pa.float64(), "Upper end of it.", null_means="not run, or undefined"),
        Column("interval", _string, "How the interval was made.", null_means="there is none"),
        Column("n", pa.int64(), "Images that it rests on.", between=(0, INF), null_means="not run, or not told"),
        Column("patients", pa.int64(), "Patients.", between=(0, INF), null_means="not run, or not told"),
        Column(
            "folds", pa.int64(), "Folds whose test parts are gathered.", between=(1, INF), null_means="not run here"
        ),
        Column("image_size", pa.int64(), "Rows and columns of the input.", "px", (1, INF), null_means="not run here"),
        Column("width", pa.float64(), "Share of the source's channels.", between=(0, 1), null_means="no network"),
        Column(
            "parameters",
            pa.int64(),
            "Trainable parameters, as it was run.",
            between=(0, INF),
            null_means="not run here",
        ),
        Column(
            "gflop",
            pa.float64(),
            "Floating-point operations of one image, in thousand millions; a multiplication with its addition is two.",
            between=(0, INF),
            null_means="not run here",
        ),
        Column("cpu_ms", pa.float64(), "Time of one image on a CPU.", "ms", (0, INF), null_means="not run here"),
        Column("engine", _string, "What computed it, and on what.", null_means="not run here"),
        Column(
            "train_minutes", pa.float64(), "Training, all folds together.", "min", (0, INF), null_means="not run here"
        ),
        Column("source", _string, "Where a published figure stands.", null_means="measured here, or not run"),
        Column("label", _string, "How far this run is from the papers'.", values=("full", "short", "phantoms")),
    ),
)

TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        IMAGES,
        SIGNATURES,
        SHARDS,
        DUPLICATES,
        INFECTION,
        REJECTED,
        PATIENTS,
        SUMMARY,
        SPLIT,
        STORE_INDEX,
        MASK_INDEX,
        HISTORY,
        METRICS_IMAGES,
        METRICS_SUMMARY,
        RELIABILITY,
        PAPER_CHECKS,
        PAPER_FRAMES,
        PAPER_TABLE,
        LEADERBOARD,
    )
}


def check(table: pa.Table, spec: TableSpec, first_row: int = 0) -> None:
    """Raise `BadTable` at the first way in which `table` breaks `spec`: names, types, nulls, ranges, words, key.

    Parameters
    ----------
    table : pyarrow.Table
    spec : TableSpec
    first_row : int
        Number of the table's first row, where it is a part of a larger one; rows count from 0.
    """
    check_values(table, spec, first_row)
    if spec.key and len(table):
        distinct = table.select(list(spec.key)).group_by(list(spec.key)).aggregate([]).num_rows
        if distinct != len(table):
            raise repeated(table, spec, first_row)


def check_values(table: pa.Table, spec: TableSpec, first_row: int = 0) -> None:
    """`check`, but for the key."""
    check_columns(table.schema, spec)
    for column in spec.columns:
        fault = _first_fault(table.column(column.name), column)
        if fault is not None:
            row, found, wanted = fault
            raise BadTable(
                f"Table `{spec.name}`, column `{column.name}`, row {first_row + row}: found {found}, wanted {wanted}."
            )


def check_columns(schema: pa.Schema, spec: TableSpec) -> None:
    """Raise `BadTable` unless `schema` has the columns of `spec`, in their order and of their types."""
    if schema.names != spec.names:
        missing = [n for n in spec.names if n not in schema.names]
        extra = [n for n in schema.names if n not in spec.names]
        raise BadTable(
            f"Table `{spec.name}`: columns differ from its schema: missing {missing or 'none'}, unknown "
            f"{extra or 'none'}{'' if missing or extra else ', order changed'}."
        )
    for column in spec.columns:
        found = schema.field(column.name).type
        if found != column.type:
            raise BadTable(f"Table `{spec.name}`, column `{column.name}`: found {found}, wanted {column.type}.")


def repeated(table: pa.Table, spec: TableSpec, first_row: int = 0) -> BadTable:
    """The error that names the first row of `table` whose key an earlier one has; one must."""
    seen: set[tuple] = set()
    keys = list(zip(*(table[name].to_pylist() for name in spec.key), strict=True))
    row = next(row for row, key in enumerate(keys) if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    said = ", ".join(f"{name}={value}" for name, value in zip(spec.key, keys[row], strict=True))
    return BadTable(
        f"Table `{spec.name}`, row {first_row + row}: repeats the key of another row: {said}; wanted each key once."
    )


def first_out_of_order(table: pa.Table, names: Sequence[str]) -> int | None:
    """The first row that does not come after the one before it, by these columns; nulls come last.

    Parameters
    ----------
    table : pyarrow.Table
    names : sequence of str
        The columns, the most important one first.

    Examples
    --------
    >>> first_out_of_order(pa.table({"a": ["x", "x", None], "b": [1, 2, 0]}), ["a", "b"]) is None
    True
    >>> first_out_of_order(pa.table({"a": ["x", None, "x"], "b": [1, 2, 0]}), ["a", "b"])
    2
    """
    if len(table) < 2:
        return None
    open_ = pa.chunked_array([pa.repeat(True, len(table) - 1)])  # rows that all columns so far leave equal
    wrong = pc.invert(open_)
    for name in names:
        before, after = table[name].slice(0, len(table) - 1), table[name].slice(1)
        ends = pc.fill_null(pc.greater(before, after), False), pc.and_(pc.is_null(before), pc.is_valid(after))
        wrong = pc.or_(wrong, pc.and_(open_, pc.or_(*ends)))
        nulls = pc.and_(pc.is_null(before), pc.is_null(after))
        open_ = pc.and_(open_, pc.or_(nulls, pc.fill_null(pc.equal(before, after), False)))
    found = pc.index(pc.or_(wrong, open_), True).as_py()
    return None if found < 0 else found + 1


def _first_fault(values: pa.ChunkedArray, column: Column) -> tuple[int, str, str] | None:
    """The first row of a column that breaks its declaration, what stands there and what was wanted."""
    if values.null_count and not column.null_means:
        return pc.index(pc.is_null(values), True).as_py(), "null", "a value (no null is allowed here)"
    if pa.types.is_floating(values.type):
        bad = pc.fill_null(pc.invert(pc.is_finite(values)), False)
        if pc.any(bad).as_py():
            wanted = f"a number, {column.range_text}" + (", or null" if column.null_means else "")
            return _at(values, bad, wanted)
    if column.between is not None and values.null_count < len(values):
        low, high = column.between
        least, most = pc.min_max(values).as_py().values()
        if least < low or most > high:
            bad = pc.or_(pc.less(values, low), pc.greater(values, high))
            return _at(values, pc.fill_null(bad, False), column.range_text)
    if column.values is not None:
        words = pc.list_flatten(values) if pa.types.is_list(values.type) else values
        unknown = sorted(set(pc.unique(words).to_pylist()) - set(column.values) - {None})
        if unknown:
            row = pc.index(pc.fill_null(pc.is_in(words, pa.array(unknown, pa.string())), False), True).as_py()
            if pa.types.is_list(values.type):
                row = pc.list_parent_indices(values)[row].as_py()
            return _at(values, row, column.range_text)
    return None


def _at(values: pa.ChunkedArray, where: pa.ChunkedArray | int, wanted: str) -> tuple[int, str, str]:
    row = where if isinstance(where, int) else pc.index(where, True).as_py()
    return row, str(values[row].as_py()), wanted


def codebook(spec: TableSpec) -> list[dict[str, str]]:
    """Rows of codebook.csv: one for each column of `spec`, in its order; no cell is empty."""
    return [{"table": spec.name, "column": column.name, **column.facts} for column in spec.columns]


def resource(spec: TableSpec, path: str, told: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """A file of a table as a resource of a Frictionless data package (specs.frictionlessdata.io, Data Resource).

    Parameters
    ----------
    spec : TableSpec
    path : str
        The file, relative to datapackage.json.
    told : mapping of column to value, optional
        Columns that the file's folders tell, and the file therefore does not hold.
    """
    told = told or {}
    fields = []
    for column in (column for column in spec.columns if column.name not in told):
        constraints: dict[str, Any] = {"required": not column.null_means}
        if column.values is not None and not pa.types.is_list(column.type):
            constraints["enum"] = list(column.values)
        if column.between is not None:
            ends = zip(("minimum", "maximum"), column.between, strict=True)
            constraints |= {end: value for end, value in ends if abs(value) != INF}
        described = {"name": column.name, "type": _frictionless_type(column.type), "description": column.text}
        extra = {key: column.facts[key] for key in ("unit", "range", "null_means")}
        fields.append(described | extra | {"constraints": constraints})
    return {
        "name": re.sub(r"[^a-z0-9._-]+", "-", path.lower().removesuffix(".parquet")),
        "path": path,
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
        "description": spec.grain,
        # Readers that go through pandas meet nulls of numbers as nan.
        "schema": {
            "fields": fields,
            "primaryKey": [name for name in spec.key if name not in told],
            "missingValues": ["", "nan"],
        },
        **({"partition": dict(told)} if told else {}),
    }


def _frictionless_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "any"  # an "array" is JSON text there; what readers of Parquet make of a list is none
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "string"
