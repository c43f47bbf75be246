"""Masks as DICOM segmentations and percentages as DICOM structured reports, to lie beside the images they are of.

DICOM PS3.3, A.51 (Segmentation IOD) and A.35.3 (Comprehensive SR IOD), PS3.16 TID 1500 (measurement report). Both
objects name the patient, as DICOM demands: they belong where the images are, and nowhere else. Needs highdicom, the
extra ``dicom-seg``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from covidpipe import __version__
from covidpipe.errors import BadInput, CovidpipeError
from covidpipe.quantify.percentages import percent

if TYPE_CHECKING:
    import highdicom

SCHEME = "99COVIDPIPE"
LUNG, LESION = Code("39607008", "SCT", "Lung"), Code("52988006", "SCT", "Lesion")
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
ABNORMAL = Code("49755003", "SCT", "Morphologically Altered Structure")
NEURAL_NETWORK = Code("123109", "DCM", "Artificial Intelligence")
PERCENT, MM2 = Code("%", "UCUM", "Percent"), Code("mm2", "UCUM", "Square millimeter")
PROCEDURES = {"ct": Code("169069000", "SCT", "CT of chest"), "xr": Code("399208008", "SCT", "Plain chest X-ray")}
# Column of the infection table -> what a structured report calls it, and its unit.
MEASUREMENTS = {
    "infection_percent": (Code("INFECTION_PCT", SCHEME, "Infected share of the lung in the image"), PERCENT),
    "lung_mm2": (Code("LUNG_AREA", SCHEME, "Lung area in the image"), MM2),
    "infected_mm2": (Code("INFECTED_AREA", SCHEME, "Infected lung area in the image"), MM2),
}
MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
OF_SERIES = Code("SERIES_INF_PCT", SCHEME, "Infected share of the lung, all images weighted by lung area")


@dataclass(frozen=True)
class Slice:
    """One image of a series by one method.

    Parameters
    ----------
    source : pydicom.Dataset
        The image's file, with or without pixels.
    frame : int
        Of a multi-frame file; 0 otherwise.
    row : dict
        Its row of the infection table.
    lung, infection : ndarray of bool, (Rows, Columns)
        As the file stores its pixels.
    """

    source: Dataset
    frame: int
    row: dict[str, Any]
    lung: np.ndarray
    infection: np.ndarray


def segmentation(slices: Sequence[Slice], number: int) -> highdicom.seg.Segmentation:
    """The masks of one series by one method as a binary segmentation: segment 1 lungs, 2 infection.

    Parameters
    ----------
    slices : sequence of Slice
        Of one series and method; frames of one file, or files of one frame each.
    number : int
        Series number of the new object.

    Raises
    ------
    BadInput
        There is nothing to be drawn, or the images do not fit together or lack what a segmentation must copy.
    """
    import highdicom as hd

    sources = _sources(slices)
    planes = np.zeros((sum(_frames(source) for source in sources), *slices[0].lung.shape, 2), np.uint8)
    for at, one in zip(_places(slices, sources), slices, strict=True):
        planes[at] = np.stack([one.lung, one.infection & one.lung], axis=-1)
    if not planes.any():
        raise BadInput(
            "no_lung",
            "No lung was found in any image of the series: there is nothing to be drawn, and the series is left out.",
        )
    method = slices[0].row["method"]
    described = [
        hd.seg.SegmentDescription(
            segment_number=number_,
            segment_label=label,
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name=f"covidpipe {method}", family=NEURAL_NETWORK, version=__version__, parameters=_models(slices)
            ),
            anatomic_regions=regions,
        )
        for number_, label, category, kind, regions in (
            (1, "Lungs", ANATOMY, LUNG, None),
            (2, f"COVID-19 infection ({method})", ABNORMAL, LESION, [LUNG]),
        )
    ]
    identity = ("seg", method, hashlib.sha256(planes.tobytes()).hexdigest(), *(s.SOPInstanceUID for s in sources))
    with _told():
        made = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=planes,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=described,
            series_instance_uid=derived_uid("series", *identity),
            series_number=number,
            sop_instance_uid=derived_uid("instance", *identity),
            instance_number=1,
            manufacturer="covidpipe",
            manufacturer_model_name=f"covidpipe {method}",
            software_versions=__version__,
            device_serial_number="none",
            content_label="COVID_INFECTION",
            content_description="Lungs and infection; research use only",
        )
    made.ContentCreatorName = None  # of type 2: there, but empty; no person drew it
    made.SeriesDescription = f"covidpipe {method}: lungs and infection (research)"
    return made


def report(slices: Sequence[Slice], drawn: Dataset | None, number: int, modality: str) -> highdicom.sr.ComprehensiveSR:
    """The percentages of one series by one method as a measurement report (TID 1500).

    A group for each image that has a percentage, which names the image, and one for the whole series.

    Parameters
    ----------
    slices : sequence of Slice
    drawn : Dataset or None
        The segmentation that the percentages are of.
    number : int
        Series number of the new object.
    modality : {"ct", "xr"}

    Raises
    ------
    BadInput
        No image has a percentage, or the images lack what a report must copy.
    """
    import highdicom as hd

    sources = _sources(slices)
    method = slices[0].row["method"]
    told = [one for one in slices if one.row["infection_percent"] is not None]
    if not told:
        raise BadInput(
            "no_lung",
            "No image of the series has a percentage: there is nothing to report, and the series is left out.",
        )
    algorithm = hd.sr.AlgorithmIdentification(
        name=f"covidpipe {method}",
        version=__version__,
        parameters=[f"{name}={value}" for name, value in _models(slices).items()] or None,
    )

    def group(name: str, measured: list[tuple[Code, float, Code]], images: list[Any] | None) -> Any:
        return hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(
                uid=derived_uid("tracking", method, name, *(source.SOPInstanceUID for source in sources)),
                identifier=name,
            ),
            finding_type=LESION,
            finding_sites=[hd.sr.FindingSite(LUNG)],
            algorithm_id=algorithm,
            measurements=[hd.sr.Measurement(name=code, value=value, unit=unit) for code, value, unit in measured],
            source_images=images,
        )

    shares = [(one.row["infected_px"], one.row["lung_px"]) for one in told]
    whole = percent(*(sum(counts) for counts in zip(*shares, strict=True)))
    groups = [] if whole is None else [group("series", [(OF_SERIES, whole, PERCENT)], None)]
    with _told():
        for one in told:
            name = one.row["image_id"]
            measured = [
                (code, float(one.row[column]), unit)
                for column, (code, unit) in MEASUREMENTS.items()
                if one.row[column] is not None
            ]
            frames = [one.frame + 1] if _frames(one.source) > 1 else None
            image = hd.sr.SourceImageForMeasurementGroup.from_source_image(one.source, frames)
            groups.append(group(name, measured, [image]))
        observer = hd.sr.ObserverContext(
            observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=derived_uid("device", __version__), name="covidpipe", model_name=f"covidpipe {method}"
            ),
        )
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=PROCEDURES[modality],
            imaging_measurements=groups,
            title=Code("126000", "DCM", "Imaging Measurement Report"),
            referenced_images=sources,
        )
        identity = ("sr", method, repr(shares), *(source.SOPInstanceUID for source in sources))
        made = hd.sr.ComprehensiveSR(
            evidence=[*sources, *([] if drawn is None else [drawn])],
            content=content[0],
            series_instance_uid=derived_uid("series", *identity),
            series_number=number,
            sop_instance_uid=derived_uid("instance", *identity),
            instance_number=1,
            manufacturer="covidpipe",
            is_complete=True,
        )
    made.SeriesDescription = f"covidpipe {method}: percentages (research)"
    scheme = Dataset()
    scheme.CodingSchemeDesignator = SCHEME
    scheme.CodingSchemeName = "covidpipe"
    scheme.CodingSchemeVersion = __version__
    made.CodingSchemeIdentificationSequence = [scheme]
    return made


def derived_uid(*words: object) -> UID:
    """A DICOM identifier that depends on nothing but `words` (PS3.5, B.2): the same masks are the same object.

    >>> derived_uid("a") == derived_uid("a"), derived_uid("a") == derived_uid("b"), derived_uid("a").is_valid
    (True, False, True)
    """
    digest = hashlib.sha256("/".join(map(str, ("covidpipe", *words))).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def _sources(slices: Sequence[Slice]) -> list[Dataset]:
    """The files of a series, each once; raise `BadInput` if they cannot lie in one object."""
    sources = list({str(one.source.get("SOPInstanceUID")): one.source for one in slices}.values())
    for source in sources:  # what may be empty but must be there, and what removes names removes altogether
        for name in MAY_BE_EMPTY:
            if name not in source:
                setattr(source, name, None)
    if len(sources) > 1 and any(_frames(source) > 1 for source in sources):
        raise BadInput(
            "unsupported_format",
            "A series of several multi-frame files; one was expected: give each its own SeriesInstanceUID.",
        )
    if len({one.lung.shape for one in slices}) > 1:
        raise BadInput(
            "unsupported_format", "A series of images of several sizes; one size was expected: make a series of each."
        )
    return sources


def _places(slices: Sequence[Slice], sources: Sequence[Dataset]) -> list[int]:
    """Where each slice lies among the frames of `sources`."""
    place = {str(source.SOPInstanceUID): n for n, source in enumerate(sources)}
    return [one.frame if _frames(one.source) > 1 else place[str(one.source.SOPInstanceUID)] for one in slices]


def _frames(source: Dataset) -> int:
    return int(source.get("NumberOfFrames") or 1)


def _models(slices: Sequence[Slice]) -> dict[str, str]:
    names = ("classifier_id", "lung_model_id", "infection_model_id")
    return {name: slices[0].row[name] for name in names if slices[0].row[name] is not None}


@contextmanager
def _told() -> Iterator[None]:
    """Turn what highdicom raises of incomplete source images into a refusal that says what is missing."""
    try:
        yield
    except (AttributeError, ValueError, TypeError, KeyError, IndexError) as error:
        raise BadInput(
            "unsupported_format",
            f"The series' headers do not suffice ({error}); complete DICOM images of one series were expected: "
            "export it again.",
        ) from error


def require_highdicom() -> None:
    """Raise `CovidpipeError` where highdicom is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise CovidpipeError(
            "Writing DICOM objects needs highdicom: pip install 'covidpipe[dicom-seg]', or pip install highdicom."
        ) from None
