"""DICOM segmentations and reports: the very masks and numbers, where the images are, as the standard demands it."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import tiny_cohort as tiny
from pydicom import config as pydicom_config

from covidpipe import cli, paths
from covidpipe.errors import BadInput
from covidpipe.harmonize import Transform
from covidpipe.io.files import read_table, write_table
from covidpipe.io.orientation import to_standard
from covidpipe.io.rows import read_rows
from covidpipe.io.store import write_store
from covidpipe.phantoms import phantom_volume, project
from covidpipe.schemas import IMAGES, INFECTION, MASK_INDEX
from covidpipe.stages import ingest, quantify
from covidpipe.stages.phantoms import _Patient, ct_dicom, xr_dicom

pytest.importorskip("highdicom", reason="highdicom is not installed (the extra dicom-seg, or `make env`)")

from covidpipe.io.dicom_out import Slice, report, segmentation
from covidpipe.stages import dicom

SIZE = 48
# What dciodvfy looks for, of the modules that these objects must have (PS3.3, A.51 and A.35.3): type 1 have a value,
# type 2 are there.
TYPE_1 = {
    "all": "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality SeriesNumber InstanceNumber "
    "Manufacturer ContentDate ContentTime",
    "SEG": "ImageType Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit "
    "PixelRepresentation LossyImageCompression SegmentationType ContentLabel SegmentSequence NumberOfFrames "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence DimensionOrganizationSequence "
    "DimensionIndexSequence ManufacturerModelName DeviceSerialNumber SoftwareVersions PixelData "
    "ReferencedSeriesSequence",
    "SR": "CompletionFlag VerificationFlag ValueType ConceptNameCodeSequence ContinuityOfContent ContentSequence "
    "ContentTemplateSequence CurrentRequestedProcedureEvidenceSequence",
}
TYPE_2 = {
    "all": "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID "
    "AccessionNumber",
    "SEG": "ContentDescription ContentCreatorName",
    "SR": "ReferencedPerformedProcedureStepSequence PerformedProcedureCodeSequence",
}


@pytest.fixture(scope="module")
def phantom():
    return phantom_volume(3, size=SIZE, slices=6)


def files_of(phantom, tmp_path, number=1, cosines=None):
    """A CT series as files, as a scanner would write it; `cosines`: stored the other way round."""
    patient = _Patient(tmp_path, number, 7, True, SIZE, 6)
    found = []
    for n in range(6):
        ds = ct_dicom(patient, phantom, n)
        ds.PatientPosition = "HFS"
        if cosines is not None:  # turned by half: the first stored pixel is the last
            row, column = (float(mm) for mm in ds.PixelSpacing)
            pixels = np.frombuffer(ds.PixelData, "<u2").reshape(SIZE, SIZE)[::-1, ::-1]
            ds.PixelData, ds.ImageOrientationPatient = pixels.tobytes(), cosines
            x, y, z = (float(mm) for mm in ds.ImagePositionPatient)
            ds.ImagePositionPatient = [x + (SIZE - 1) * column, y + (SIZE - 1) * row, z]
        path = tmp_path / "files" / f"{number}-{n}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        ds.save_as(path, enforce_file_format=True)
        found.append(path)
    return found


def row(n, lung, infection, **also):
    lung_px, infected_px = int(lung.sum()), int((lung & infection).sum())
    return {
        "image_id": f"image-{n}",
        "method": "khan2020",
        "lung_px": lung_px,
        "infected_px": infected_px,
        "infection_percent": 100 * infected_px / lung_px if lung_px else None,
        "lung_mm2": 2.0 * lung_px,
        "infected_mm2": 2.0 * infected_px,
        "classifier_id": None,
        "lung_model_id": "nabla3@0123456789ab",
        "infection_model_id": "cov_raseg@0123456789ab",
        **also,
    }


@pytest.fixture(scope="module")
def slices(phantom, tmp_path_factory):
    paths_ = files_of(phantom, tmp_path_factory.mktemp("series"))
    return [
        Slice(pydicom.dcmread(path, stop_before_pixels=True), 0, row(n, lung, infection), lung, infection)
        for n, (path, lung, infection) in enumerate(zip(paths_, phantom.lung_mask, phantom.infection_mask, strict=True))
    ]


@pytest.fixture(scope="module")
def drawn(slices, tmp_path_factory):
    return again(segmentation(slices, 9000), tmp_path_factory.mktemp("seg") / "seg.dcm")


@pytest.fixture(scope="module")
def told(slices, drawn, tmp_path_factory):
    return again(report(slices, drawn, 9001, "ct"), tmp_path_factory.mktemp("sr") / "sr.dcm")


def again(ds, path):
    """The object as it is read back from its file, strictly."""
    ds.save_as(path, enforce_file_format=True)
    before = pydicom_config.settings.reading_validation_mode
    pydicom_config.settings.reading_validation_mode = pydicom_config.RAISE
    try:
        read = pydicom.dcmread(path)
        read.walk(lambda _, element: element.value)  # each value is checked as it is converted
    finally:
        pydicom_config.settings.reading_validation_mode = before
    return read


def planes(seg) -> dict[tuple[str, int], np.ndarray]:
    """The masks of a segmentation by source image and segment."""
    found = {}
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for plane, groups in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert (source, number) not in found, "a mask is there once"
        found[source, number] = plane.astype(bool)
    return found


@pytest.mark.parametrize("kind", ["SEG", "SR"])
def test_what_the_standard_demands_is_there(kind, drawn, told, slices):
    ds = {"SEG": drawn, "SR": told}[kind]
    assert ds.Modality == kind
    for part in ("all", kind):
        for name in TYPE_1[part].split():
            assert name in ds and ds[name].value not in (None, "", []), f"{name} (type 1)"
        for name in TYPE_2[part].split():
            assert name in ds, f"{name} (type 2)"
    source = slices[0].source
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"):
        assert ds[name].value == source[name].value, f"{name} is that of the images"
    assert ds.SeriesInstanceUID not in {one.source.SeriesInstanceUID for one in slices}
    for uid in (ds.SOPInstanceUID, ds.SeriesInstanceUID):
        assert pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.")


def test_every_mask_is_in_the_segmentation_and_nothing_else(drawn, slices):
    wanted = {}
    for one in slices:
        for number, mask in ((1, one.lung), (2, one.infection & one.lung)):
            if mask.any():
                wanted[one.source.SOPInstanceUID, number] = mask
    found = planes(drawn)
    assert set(found) == set(wanted) and len(wanted) > len(slices)
    assert all(np.array_equal(found[key], wanted[key]) for key in wanted)
    segments = drawn.SegmentSequence
    assert [segment.SegmentNumber for segment in segments] == [1, 2]
    assert [segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in segments] == ["39607008", "52988006"]
    assert all(segment.SegmentAlgorithmType == "AUTOMATIC" for segment in segments)
    assert "nabla3@0123456789ab" in segments[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters


def test_a_viewer_lays_the_segmentation_over_its_images(drawn, slices):
    sources = {one.source.SOPInstanceUID: one.source for one in slices}
    first = slices[0].source
    assert first.FrameOfReferenceUID == drawn.FrameOfReferenceUID
    shared = drawn.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == first.PixelSpacing
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == first.ImageOrientationPatient
    assert (drawn.Rows, drawn.Columns) == (first.Rows, first.Columns)
    for groups in drawn.PerFrameFunctionalGroupsSequence:
        source = sources[groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert groups.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
    series = drawn.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == set(sources)


def numbers(item) -> dict[str, float]:
    """The measurements of a report's group, by their code."""
    return {
        child.ConceptNameCodeSequence[0].CodeValue: float(child.MeasuredValueSequence[0].NumericValue)
        for child in item.ContentSequence
        if child.ValueType == "NUM"
    }


def test_the_report_tells_each_images_numbers_and_those_of_the_series(told, slices, drawn):
    assert told.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    (container,) = [c for c in told.ContentSequence if c.ConceptNameCodeSequence[0].CodeValue == "126010"]
    whole, *groups = container.ContentSequence
    with_lung = [one for one in slices if one.row["infection_percent"] is not None]
    infected, lung = (sum(one.row[name] for one in with_lung) for name in ("infected_px", "lung_px"))
    assert numbers(whole) == {"SERIES_INF_PCT": pytest.approx(100 * infected / lung)}
    assert len(groups) == len(with_lung) > 2
    for group, one in zip(groups, with_lung, strict=True):
        assert numbers(group) == {
            "INFECTION_PCT": pytest.approx(one.row["infection_percent"]),
            "LUNG_AREA": one.row["lung_mm2"],
            "INFECTED_AREA": one.row["infected_mm2"],
        }
        (image,) = [c for c in group.ContentSequence if c.ValueType == "IMAGE"]
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == one.source.SOPInstanceUID
    evidence = {
        instance.ReferencedSOPInstanceUID
        for name in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in told.get(name, [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert evidence == {*(one.source.SOPInstanceUID for one in slices), drawn.SOPInstanceUID}
    assert told.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99COVIDPIPE"


def test_dciodvfy_finds_no_error(drawn, told, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools); the other tests check what it would")
    for ds in (drawn, told):
        ds.save_as(tmp_path / "object.dcm")
        said = subprocess.run(["dciodvfy", "-new", tmp_path / "object.dcm"], capture_output=True, text=True).stderr
        assert "Error" not in said, said


def test_the_same_masks_are_the_same_object(slices, drawn):
    same = segmentation(slices, 9000)
    assert (same.SOPInstanceUID, same.SeriesInstanceUID) == (drawn.SOPInstanceUID, drawn.SeriesInstanceUID)
    less = copy.copy(slices)
    less[2] = Slice(less[2].source, 0, less[2].row, less[2].lung, np.zeros_like(less[2].lung))
    assert segmentation(less, 9000).SOPInstanceUID != drawn.SOPInstanceUID


def test_series_that_cannot_be_written_are_refused_with_the_reason(slices):
    empty = [Slice(one.source, 0, row(0, no, no), no, no) for one in slices for no in [np.zeros_like(one.lung)]]
    with pytest.raises(BadInput, match="nothing to be drawn"):
        segmentation(empty, 9000)
    with pytest.raises(BadInput, match="nothing to report"):
        report(empty, None, 9001, "ct")
    without = copy.deepcopy(slices[0].source)
    del without.StudyInstanceUID
    for make in (lambda some: segmentation(some, 9000), lambda some: report(some, None, 9001, "ct")):
        with pytest.raises(BadInput, match="headers do not suffice"):
            make([Slice(without, 0, slices[3].row, slices[3].lung, slices[3].infection)])


@pytest.fixture
def cohort(phantom, tmp_path, monkeypatch):
    """A cohort that was quantified: a series as scanners write it, one turned by half, a film, and a PNG."""
    config = tiny.config(tmp_path, methods=["khan2020"])
    files_of(phantom, tmp_path, 1)
    files_of(phantom, tmp_path, 2, cosines=[-1, 0, 0, 0, -1, 0])
    film = project(phantom)
    xr_dicom(_Patient(tmp_path, 3, 7, True, SIZE, 6), film, "MONOCHROME2").save_as(
        tmp_path / "files" / "film.dcm", enforce_file_format=True
    )
    monkeypatch.setattr(ingest, "read_in_parallel", lambda tasks: map(read_rows, tasks))
    rows = ingest.inspect(tmp_path / "files")
    images = paths.images(config, "c")
    image = {"accepted": True, "modality": "ct", "warnings": [], "reason": None, "sentence": None}
    by_file = {}
    for found in rows:
        found |= image  # these are smaller than what ingest accepts
        n = int(found["path"][2:3]) if found["path"][0] in "12" else None
        masks = (
            (film.lung_mask, film.infection_mask) if n is None else (phantom.lung_mask[n], phantom.infection_mask[n])
        )
        by_file[found["image_id"]] = masks
    rows.append(dict(rows[0]) | {"image_id": "png", "format": "png", "series_id": "png", "path": "a.png"})
    by_file["png"] = by_file[rows[0]["image_id"]]
    table = write_table(images, rows, IMAGES).to_pylist()
    side = max(max(mask[0].shape) for mask in by_file.values())
    index, stacks = [], []
    for n, found in enumerate(table):
        lung, infection = by_file[found["image_id"]]
        transform = Transform.fit(*lung.shape, side)
        index.append(
            {"n": n, "image_id": found["image_id"], "method": "khan2020", "reasons": [], **transform.as_dict()}
        )
        stacks.append([transform.forward_mask(mask).astype(np.uint8) for mask in (lung, infection)])
    lungs, infections = (np.stack(some) for some in zip(*stacks, strict=True))
    shard = paths.shard(config, "c", 0)
    block = {"lung_mask": lungs, "infection_mask": infections}
    write_store(
        shard, "masks.zarr", index, MASK_INDEX, [block], dict.fromkeys(block, (side, side)), len(table), len(table)
    )
    quantify.run(config, "c", images, shard, 0, shard / "infection.parquet")
    return config, by_file


def test_a_cohorts_masks_lie_as_its_files_store_their_pixels(cohort, phantom, tmp_path):
    config, by_file = cohort
    counts = dicom.run(config, "c", tmp_path / "out")
    assert counts == {"segmentations": 3, "reports": 3, "left_out": 0, "not_dicom": 1}
    written = {path: again(pydicom.dcmread(path), tmp_path / "x.dcm") for path in (tmp_path / "out").rglob("*.seg.dcm")}
    assert len(written) == 3 and all((path.parent / "khan2020.sr.dcm").exists() for path in written)
    sources = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, (tmp_path / "files").glob("*.dcm"))}
    for seg in written.values():
        for (source, number), mask in planes(seg).items():
            image = sources[source]
            if image.Modality == "DX":
                continue
            stored = image.pixel_array.astype(int) - 1024
            n = image.InstanceNumber - 1
            turned = image.ImageOrientationPatient[0] < 0
            assert np.array_equal(to_standard(stored, "R\\A" if turned else "L\\P"), phantom.hu[n])
            wanted = phantom.lung_mask[n] if number == 1 else phantom.infection_mask[n] & phantom.lung_mask[n]
            assert np.array_equal(mask, wanted[::-1, ::-1] if turned else wanted)
    table = read_table(paths.shard(config, "c", 0) / "infection.parquet", INFECTION)
    assert table.num_rows == len(by_file)


def test_the_command_says_what_it_wrote_and_what_it_needs(cohort, tmp_path, capsys, monkeypatch):
    from covidpipe.config import dump

    config, _ = cohort
    (tmp_path / "config.yaml").write_text(dump(config))
    command = ["dicom", "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")]
    assert cli.main(command) == cli.DONE
    assert "c: 3 segmentations, 3 reports, 0 left out, 1 not dicom" in capsys.readouterr().out
    assert cli.main([*command, "--cohort", "d"]) == cli.USAGE
    changed = next((tmp_path / "files").glob("1-*.dcm"))
    changed.write_bytes(changed.read_bytes() + b"\0\0")
    assert cli.main(command) == cli.BAD_INPUT
    assert "has changed since ingest" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert cli.main(command) == cli.BAD_INPUT
    assert "needs highdicom: pip install" in capsys.readouterr().err
