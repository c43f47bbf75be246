"""Every measured column on phantoms, exact to the pixel, however files lie and whichever way the patient went in."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from covidpipe.config import Config
from covidpipe.harmonize import Transform
from covidpipe.io import orientation
from covidpipe.io.files import read_table
from covidpipe.io.store import write_store
from covidpipe.phantoms import Phantom, phantom_volume
from covidpipe.schemas import IMAGES, INFECTION, MASK_INDEX, PATIENTS
from covidpipe.stages import collect, ingest, phantoms, quantify

SIZE, SLICES, CUT = 96, 6, 6  # rows that are cut off the top, so that turned pictures have another shape
ROW_MM, COLUMN_MM = 3.9, 4.3
AXES = {"L": [1, 0, 0], "R": [-1, 0, 0], "P": [0, 1, 0], "A": [0, -1, 0]}


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return phantom_volume(7, size=SIZE, slices=SLICES)


@pytest.fixture(scope="module")
def truth(phantom) -> list[dict]:
    """Columns of each slice, counted here with other tools than the pipeline's."""
    rows = []
    for k in range(SLICES):
        lung, infection, left = (
            mask[k, CUT:] for mask in (phantom.lung_mask, phantom.infection_mask, phantom.left_lung_mask)
        )
        hu, right = np.maximum(phantom.hu[k, CUT:].astype(int), -1024), lung & ~left
        areas = np.bincount(ndimage.label(infection, np.ones((3, 3)))[0].ravel())[1:]

        def share(part, whole):
            return 100 * int(part.sum()) / int(whole.sum()) if whole.any() else None

        rows.append(
            {
                "slice_index": k,
                "lung_px": int(lung.sum()),
                "infected_px": int(infection.sum()),
                "lung_mm2": int(lung.sum()) * ROW_MM * COLUMN_MM,
                "infected_mm2": int(infection.sum()) * ROW_MM * COLUMN_MM,
                "infection_percent": share(infection, lung),
                "left_lung_px": int(left.sum()),
                "right_lung_px": int(right.sum()),
                "left_lung_percent": share(infection & left, left),
                "right_lung_percent": share(infection & right, right),
                "lesion_count": len(areas) if lung.any() else None,
                "largest_lesion_mm2": int(areas.max()) * ROW_MM * COLUMN_MM if len(areas) else None,
                "ggo_percent": share(infection & (hu >= -750) & (hu < -300), lung),
                "consolidation_percent": share(infection & (hu >= -300) & (hu < 50), lung),
            }
        )
    assert sum(row["infected_px"] > 0 for row in rows) > 2
    assert any(row["left_lung_percent"] != row["right_lung_percent"] for row in rows)
    return rows


def write_dicoms(folder: Path, phantom: Phantom, lies: str, position: str) -> None:
    """A series whose pixels lie as `lies`; feet first, the instances count from the head downwards."""
    patient = phantoms._Patient(folder, 1, 0, True, SIZE, SLICES)
    folder.mkdir(parents=True)
    for k in range(SLICES):
        ds = phantoms.ct_dicom(patient, phantom, k)
        stored = np.ascontiguousarray(orientation.to_stored(ds.pixel_array[CUT:], lies))
        ds.Rows, ds.Columns = stored.shape
        ds.PixelData = stored.astype("<u2").tobytes()
        ds.PixelSpacing = [COLUMN_MM, ROW_MM] if orientation.is_turned(lies) else [ROW_MM, COLUMN_MM]
        ds.ImageOrientationPatient = [*AXES[lies[0]], *AXES[lies[2]]]
        ds.PatientPosition = position
        ds.InstanceNumber = SLICES - k if position.startswith("FF") else k + 1
        ds.save_as(folder / f"{(k * 5) % 7}.dcm", enforce_file_format=True)


def write_nifti(folder: Path, phantom: Phantom, codes: str) -> None:
    folder.mkdir(parents=True)
    voxels = phantom.hu[:, CUT:].transpose(2, 1, 0)[::-1, ::-1]  # to the right, anterior, superior
    image = nib.Nifti1Image(np.ascontiguousarray(voxels), np.diag([COLUMN_MM, ROW_MM, phantom.spacing_mm[0], 1]))
    wanted = nib.orientations.axcodes2ornt(tuple(codes))
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), wanted)
    nib.save(image.as_reoriented(turn), folder / "ct.nii.gz")


def quantified(folder: Path, phantom: Phantom) -> list[dict]:
    """The files of `folder` through ingest, the true masks through quantify: rows in the order of the series."""
    config = Config.model_validate({"cohorts": {"c": {"path": str(folder / "in"), "methods": ["alom2020"]}}})
    ingest.run(config, "c", folder / "images.parquet")
    rows = read_table(folder / "images.parquet", IMAGES).to_pylist()
    assert [row["accepted"] for row in rows] == [True] * SLICES
    index, blocks = [], {"lung_mask": [], "infection_mask": []}
    for n, row in enumerate(rows):
        transform = Transform.fit(row["rows"], row["columns"], SIZE)
        index.append({"n": n, "image_id": row["image_id"], "method": "alom2020", **transform.as_dict(), "reasons": []})
        for name, block in blocks.items():
            block.append(transform.forward_mask(getattr(phantom, name)[row["slice_index"], CUT:]))
    arrays = {name: np.array(block, np.uint8) for name, block in blocks.items()}
    write_store(
        folder / "masks", "masks.zarr", index, MASK_INDEX, [arrays], dict.fromkeys(arrays, (SIZE, SIZE)), n + 1, 8
    )
    quantify.run(config, "c", folder / "images.parquet", folder / "masks", 0, folder / "infection.parquet")
    return read_table(folder / "infection.parquet", INFECTION).to_pylist()


def assert_true(found: list[dict], truth: list[dict]) -> None:
    for row, known in zip(found, truth, strict=True):
        for column, value in known.items():
            wanted = value if value is None or isinstance(value, int) else pytest.approx(value, rel=1e-5)
            assert row[column] == wanted, (known["slice_index"], column)
        assert "side_assumed" not in row["qc_reasons"]


@pytest.mark.parametrize(
    ("lies", "position"),
    [
        ("L\\P", "HFS"),
        ("L\\P", "FFS"),
        ("R\\P", "FFS"),
        ("R\\A", "HFP"),
        ("L\\A", "FFP"),
        ("P\\L", "HFDR"),
        ("A\\R", "FFDL"),
    ],
)
def test_dicom_whichever_way_it_lies(phantom, truth, tmp_path, lies, position):
    write_dicoms(tmp_path / "in", phantom, lies, position)
    assert_true(quantified(tmp_path, phantom), truth)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PSR", "ILA"])
def test_nifti_whichever_way_it_lies(phantom, truth, tmp_path, codes):
    write_nifti(tmp_path / "in", phantom, codes)
    assert_true(quantified(tmp_path, phantom), truth)


def test_a_patients_volumes_and_percentages(phantom, truth, tmp_path):
    """From files to patients.parquet: the worked example of docs/table.md."""
    write_dicoms(tmp_path / "in", phantom, "R\\P", "FFS")
    quantified(tmp_path, phantom)
    config = Config.model_validate({"cohorts": {"c": {"path": str(tmp_path / "in"), "methods": ["alom2020"]}}})
    collect.run(config, "c", tmp_path / "images.parquet", [tmp_path / "infection.parquet"], tmp_path / "out")
    (row,) = read_table(tmp_path / "out" / "patients.parquet", PATIENTS).to_pylist()
    lung, infection, left = (
        mask[:, CUT:] for mask in (phantom.lung_mask, phantom.infection_mask, phantom.left_lung_mask)
    )
    voxel_ml = ROW_MM * COLUMN_MM * phantom.spacing_mm[0] / 1000
    wanted = {
        "lung_ml": lung.sum() * voxel_ml,
        "infected_ml": infection.sum() * voxel_ml,
        "infection_percent": 100 * infection.sum() / lung.sum(),
        "left_lung_percent": 100 * (infection & left).sum() / left.sum(),
        "right_lung_percent": 100 * (infection & ~left).sum() / (lung & ~left).sum(),
        "slice_spacing_mm": phantom.spacing_mm[0],
        "max_image_percent": max(r["infection_percent"] for r in truth if r["lung_px"] > 0.1 * lung.sum((1, 2)).max()),
    }
    for name, value in wanted.items():
        assert row[name] == pytest.approx(value, rel=1e-5), name
    assert (row["volume_status"], row["volume_slices"], row["lung_covered"]) == ("regular", SLICES, True)
    assert row["images"] == sum(r["infection_percent"] is not None for r in truth)
    slices = [r["infection_percent"] for r in truth if r["infection_percent"] is not None]
    assert abs(np.mean(slices) - row["infection_percent"]) > 1  # the mean of slices is another number


def test_units_that_can_no_longer_be_read_are_null_with_a_reason(phantom, truth, tmp_path):
    write_nifti(tmp_path / "in", phantom, "RAS")
    quantified(tmp_path, phantom)
    (tmp_path / "in" / "ct.nii.gz").unlink()
    config = Config.model_validate({"cohorts": {"c": {"path": str(tmp_path / "in"), "methods": ["alom2020"]}}})
    quantify.run(config, "c", tmp_path / "images.parquet", tmp_path / "masks", 0, tmp_path / "again.parquet")
    for row, known in zip(read_table(tmp_path / "again.parquet", INFECTION).to_pylist(), truth, strict=True):
        assert row["infection_percent"] == known["infection_percent"] and row["ggo_percent"] is None
        assert "no_longer_readable" in row["qc_reasons"] and row["qc_status"] == "warning"


def test_masks_drawn_on_a_mirrored_file_are_mirrored_with_it(phantom, tmp_path):
    """A mask in a PNG does not say how it lies: it was drawn on the file's pixels."""
    import PIL.Image

    from covidpipe.io.read import read_mask

    drawn = phantom.left_lung_mask[SLICES // 2]
    PIL.Image.fromarray(orientation.to_stored(drawn, "R\\P").astype(np.uint8) * 255).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", orientation="R\\P"), drawn)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), drawn[:, ::-1])
    assert np.array_equal(read_mask(tmp_path / "mask.png", orientation="RAS"), drawn[:, ::-1])


def test_the_example_of_the_page_is_this_phantom(truth):
    """docs/table.md shows why a slice is not a patient: with the numbers of this very patient."""
    rows = [(row["lung_px"], row["infected_px"], row["infection_percent"]) for row in truth]
    told = [percent for _, _, percent in rows if percent is not None]
    lung, infected = (sum(row[place] for row in rows) for place in (0, 1))
    enough = [percent for px, _, percent in rows if px >= 0.1 * max(row[0] for row in rows)]
    lines = ["| slice | lung, px | infected, px | infection_percent |", "|---|---|---|---|"]
    lines += [
        f"| {n} | {lung_px} | {infected_px} | {'null' if percent is None else f'{percent:.1f}'} |"
        for n, (lung_px, infected_px, percent) in enumerate(rows)
    ]
    lines += [
        "",
        f"The mean of the slices is {np.mean(told):.1f} %, the highest {max(told):.1f} %. The patient's "
        f"`infection_percent` is {100 * infected / lung:.1f} %: infected area over lung area, all slices together. "
        f"`max_image_percent` is {max(enough):.1f} %: the {rows[0][0]} pixels of slice 0 are too few to be asked.",
    ]
    page = (Path(__file__).parents[2] / "docs" / "table.md").read_text(encoding="utf-8")
    shown = page.split("<!-- example -->\n")[1].split("\n<!-- end of example -->")[0]
    assert shown == "\n".join(lines)
