"""Write synthetic patients: CT series and X-rays with their masks, and every percentage in truth.csv."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from covidpipe.errors import UsageError
from covidpipe.io.files import replacing
from covidpipe.phantoms import MIN_HU, MIN_SIZE, Phantom, Radiograph, phantom_volume, project
from covidpipe.provenance import available_cores

log = logging.getLogger(__name__)

INDEX_COLUMNS = ("file", "patient", "study", "series", "slice_index", "label", "lung_mask", "infection_mask")
TRUTH_COLUMNS = ("modality", "file", "lung_px", "infected_px", "infection_percent")
# What X-rays come as, in turn: a reader must see through all of it.
RADIOGRAPH_FORMATS = ("MONOCHROME2", "MONOCHROME1", "MONOCHROME2", "png")
README = """\
Synthetic chests, made by `covidpipe phantoms`: no real patient, nothing measured.

ct/images, xr/images    the pictures (DICOM in Hounsfield units; DICOM and 8-bit PNG): `covidpipe cohort` reads these
ct/masks, xr/masks      lung and infection masks (0 and 255), exact by construction
ct/index.csv, xr/...    one row a picture: patient, study, series, slice_index (0 = lowest), label, masks
truth.csv               pixels and infection_percent of every picture; empty where there is no lung

The X-rays are projections of the CT's body. Their masks hold the pixels whose ray meets lung, or infected lung: the
percentage is that of the picture, not of the volume.

patients {patients}, size {size}, slices {slices}, seed {seed}: the same numbers make the same bytes.
"""


@dataclass(frozen=True)
class _Patient:
    """One patient to make, in the folder that is being written."""

    out: Path
    number: int
    seed: int  # of the whole set
    infected: bool
    size: int
    slices: int

    @property
    def name(self) -> str:
        return f"patient-{self.number:03d}"

    @property
    def patient_id(self) -> str:
        return f"PHANTOM-{self.seed}-{self.number:03d}"  # another seed's first patient is another person

    def uid(self, *what: object) -> UID:
        """A DICOM identifier that depends on nothing but the patient and `what`."""
        words = ("covidpipe phantom", self.seed, self.number, self.infected, self.size, self.slices, *what)
        digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
        return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def run(out: Path, *, patients: int, size: int, slices: int, seed: int) -> None:
    """Make patients, half of them (rounded up) diseased, each with a CT series and an X-ray.

    Parameters
    ----------
    out : Path
        Folder to make, or to replace if it holds an earlier set: ct/, xr/, truth.csv, README.txt.
    patients : int
    size : int
        Rows and columns of a slice, and columns of an X-ray.
    slices : int
        Slices of a patient.
    seed : int
        The same numbers and seed give the same bytes.

    Raises
    ------
    UsageError
        A number is too small, or `out` holds something else.
    """
    if patients < 1 or slices < 1 or size < MIN_SIZE or seed < 0:
        raise UsageError(
            f"patients {patients}, slices {slices}, size {size}, seed {seed}: wanted at least 1 patient, 1 slice, "
            f"{MIN_SIZE} pixels, and a seed from 0."
        )
    if out.exists() and not (out / "truth.csv").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} holds something else than phantoms, and would be replaced: name a new or empty folder."
        )
    infected = np.arange(patients) % 2 == 0
    np.random.default_rng([seed, 4]).shuffle(infected)
    with replacing(out) as partial:
        tasks = [_Patient(partial, n + 1, seed, bool(sick), size, slices) for n, sick in enumerate(infected)]
        ct: list[dict] = []
        xr: list[dict] = []
        # spawn: a forked copy of a process with threads may hang.
        with ProcessPoolExecutor(min(available_cores(), patients), mp_context=get_context("spawn")) as pool:
            for task, (ct_rows, xr_row) in zip(tasks, pool.map(_make, tasks), strict=True):
                ct += ct_rows
                xr.append(xr_row)
                log.info("%s: a series of %d slices and an X-ray", task.name, slices)
        _write_csv(partial / "ct" / "index.csv", INDEX_COLUMNS, ct)
        _write_csv(partial / "xr" / "index.csv", INDEX_COLUMNS, xr)
        truth = [
            row | {"modality": modality, "file": f"{modality}/{row['file']}"}
            for modality, rows in (("ct", ct), ("xr", xr))
            for row in rows
        ]
        _write_csv(partial / "truth.csv", TRUTH_COLUMNS, truth)
        (partial / "README.txt").write_text(
            README.format(patients=patients, size=size, slices=slices, seed=seed), encoding="utf-8"
        )


def _make(patient: _Patient) -> tuple[list[dict], dict]:
    """Write one patient's pictures and masks; return the rows of both indices."""
    own_seed = int(np.random.SeedSequence([patient.seed, patient.number]).generate_state(1)[0])
    phantom = phantom_volume(own_seed, size=patient.size, slices=patient.slices, infected=patient.infected)
    return _write_series(patient, phantom), _write_radiograph(patient, project(phantom))


def _write_series(patient: _Patient, phantom: Phantom) -> list[dict]:
    folder = patient.out / "ct"
    rows = []
    for index in range(len(phantom.hu)):
        name = f"{patient.name}/slice-{index + 1:03d}"
        _save(ct_dicom(patient, phantom, index), folder / "images" / f"{name}.dcm")
        lung, infection = phantom.lung_mask[index], phantom.infection_mask[index]
        rows.append(_row(patient, "ct", folder, f"images/{name}.dcm", name, lung, infection) | {"slice_index": index})
    return rows


def _write_radiograph(patient: _Patient, radiograph: Radiograph) -> dict:
    folder = patient.out / "xr"
    form = RADIOGRAPH_FORMATS[(patient.number - 1) % len(RADIOGRAPH_FORMATS)]
    if form == "png":
        file = f"images/{patient.name}.png"
        _save_png((radiograph.image >> 4).astype(np.uint8), folder / file)
    else:
        file = f"images/{patient.name}.dcm"
        _save(xr_dicom(patient, radiograph, form), folder / file)
    return _row(patient, "xr", folder, file, patient.name, radiograph.lung_mask, radiograph.infection_mask)


def _row(
    patient: _Patient,
    modality: str,
    folder: Path,
    file: str,
    name: str,
    lung: NDArray[np.bool_],
    infection: NDArray[np.bool_],
) -> dict:
    """Write the masks of a picture; return its row for index.csv and truth.csv together."""
    masks = {"lung_mask": f"masks/{name}-lung.png", "infection_mask": f"masks/{name}-infection.png"}
    for mask, path in zip((lung, infection), masks.values(), strict=True):
        _save_png(mask.astype(np.uint8) * 255, folder / path)
    lung_px, infected_px = int(lung.sum()), int(infection.sum())
    return {
        "file": file,
        "patient": patient.patient_id,
        "study": patient.uid(modality, "study"),
        "series": patient.uid(modality, "series"),
        "slice_index": "",
        "label": int(infection.any()),
        **masks,
        "lung_px": lung_px,
        "infected_px": infected_px,
        "infection_percent": 100 * infected_px / lung_px if lung_px else "",
    }


def ct_dicom(patient: _Patient, phantom: Phantom, index: int) -> Dataset:
    """Slice `index` as a CT Image: Hounsfield units with an intercept of -1024, signed for every second patient."""
    between, row_mm, column_mm = phantom.spacing_mm
    corner = -phantom.anatomy.field_mm / 2 + row_mm / 2
    ds = _header(patient, "ct", CTImageStorage, index + 1)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.KVP = 120
    ds.AcquisitionNumber = 1
    ds.SliceThickness = _decimal(between)
    ds.PixelSpacing = [_decimal(row_mm), _decimal(column_mm)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [_decimal(corner), _decimal(corner), _decimal((index + 0.5) * between)]
    ds.FrameOfReferenceUID = patient.uid("ct", "frame")
    ds.PositionReferenceIndicator = ""
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = MIN_HU, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = -600, 1500
    signed = patient.number % 2 == 0
    _pixels(ds, (phantom.hu[index].astype(np.int32) - MIN_HU).astype("<u2"), "MONOCHROME2")
    if signed:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, 1
    return ds


def xr_dicom(patient: _Patient, radiograph: Radiograph, photometric: str) -> Dataset:
    """A digital radiograph of 12 bits, for presentation; MONOCHROME1 holds it inverted."""
    ds = _header(patient, "xr", DigitalXRayImageStorageForPresentation, 1)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ViewPosition = "PA"
    ds.PatientOrientation = ["L", "F"]
    ds.ImageLaterality = "U"
    ds.ImagerPixelSpacing = [_decimal(mm) for mm in radiograph.spacing_mm]
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.PixelIntensityRelationship = "LOG"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    inverted = photometric == "MONOCHROME1"
    ds.PixelIntensityRelationshipSign = 1 if inverted else -1
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    _pixels(ds, (4095 - radiograph.image if inverted else radiograph.image).astype("<u2"), photometric)
    return ds


def _header(patient: _Patient, modality: str, storage: UID, instance: int) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = patient.uid(modality, "image", instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    ds.Modality = {"ct": "CT", "xr": "DX"}[modality]
    ds.PatientID = patient.patient_id
    ds.PatientName = f"PHANTOM^SYNTHETIC {patient.number:03d}"
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = patient.uid(modality, "study"), patient.uid(modality, "series")
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ""
    ds.Manufacturer = "covidpipe"
    ds.SeriesDescription = "synthetic phantom, not a patient"
    ds.SeriesNumber, ds.InstanceNumber = 1, instance
    ds.BodyPartExamined = "CHEST"
    return ds


def _pixels(ds: Dataset, stored: NDArray[np.uint16], photometric: str) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = stored.tobytes()


def _decimal(number: float) -> str:
    return f"{number:.6f}"  # a DICOM decimal holds at most 16 characters


def _save(ds: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def _save_png(pixels: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
