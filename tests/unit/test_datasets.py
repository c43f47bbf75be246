"""Declared datasets: every file that an index names is there, and nothing else is claimed."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import pytest

from covidpipe.datasets import khan2020, phantoms
from covidpipe.errors import BadConfig
from covidpipe.registry import DATASETS

REAL = {
    "medseg829": (829, 9, 373),
    "khan2020": (829, 1, 370),  # whose they are is not told
    "coronacases": (234, 6, 234),
    "cxr-lungs": (704, 704, 0),
    "covid-cxr": (303, 170, 198),
    "kermany": (5856, 2790, 4273),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_counts_of_the_real_datasets(real_data: Path, name):
    root = real_data / DATASETS[name].folder
    records = importlib.import_module(DATASETS[name].module).records(root)
    assert (len(records), len({r.patient for r in records}), sum(r.label is True for r in records)) == REAL[name]
    assert len({r.path for r in records}) == len(records)
    for record in records:
        for path in (record.path, record.lung_mask_path, record.infection_mask_path):
            assert path is None or (root / path).is_file()


def test_a_missing_dataset_is_told(tmp_path):
    for spec in DATASETS.values():
        with pytest.raises(BadConfig, match=r"there is no such (file|folder).*COVIDPIPE_DATA"):
            importlib.import_module(spec.module).records(tmp_path)


@pytest.mark.real_data
def test_the_authors_lists_of_khan2020(real_data: Path):
    """INCONSISTENCIES B5: 236 + 60 + 74 = 370; the 296 are training and validation."""
    records = khan2020.records(real_data / "khan2020")
    listed = {record.path: record.published_part for record in records if record.infection_mask_path}
    assert sorted(Counter(listed.values()).items()) == [("test", 74), ("train", 296)]
    assert all(path.startswith("ct/infected/") for path in listed)
    assert all(r.published_part is None and r.patient is None for r in records if r.path not in listed)


HEADER = "file,patient,study,series,slice_index,label,lung_mask,infection_mask\n"


def test_phantom_index(tmp_path):
    (tmp_path / "index.csv").write_text(HEADER + "p/1.dcm,P1,S,T,0,1,l.png,i.png\np/2.png,P1,,,,,,\n")
    first, second = phantoms.records(tmp_path)
    assert (first.label, first.slice_index, first.infection_mask_path) == (True, 0, "i.png")
    assert (second.label, second.study, second.slice_index, second.lung_mask_path) == (None, None, None, None)


def test_a_wrong_index_is_told(tmp_path):
    (tmp_path / "index.csv").write_text(HEADER + "p/1.dcm,P1,S,T,first,1,,\n")
    with pytest.raises(BadConfig, match=r"p/1\.dcm: .*slice_index `first`; wanted"):
        phantoms.records(tmp_path)
    (tmp_path / "index.csv").write_text("name\nx\n")
    with pytest.raises(BadConfig, match="missing file, patient"):
        phantoms.records(tmp_path)
