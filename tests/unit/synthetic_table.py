"""Infection tables of invented patients, as large as one likes: no image, no person, the same seed the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from covidpipe.schemas import INFECTION

METHODS = ("alom2020", "khan2020")
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


def words(n: int, digits: int, rng: np.random.Generator) -> pa.Array:
    """`n` random words of hexadecimal digits, like hashes."""
    letters = HEX[rng.integers(0, 16, (n, digits), np.uint8)]
    starts = pa.py_buffer(np.arange(n + 1, dtype=np.int32) * digits)
    return pa.StringArray.from_buffers(n, starts, pa.py_buffer(letters.tobytes()))


def patients(first: int, number: int, slices: int = 100, *, cohort: str = "big", seed: int = 0) -> pa.Table:
    """Rows of `number` patients, `slices` CT slices each, by both methods; every tenth patient has a film instead.

    Patients are numbered, so that tables of consecutive ones, put together, come in the order of the schema.
    """
    rng = np.random.default_rng([seed, first])
    rows = pa.array(np.repeat(np.arange(number * slices), len(METHODS)))
    person = np.repeat(np.arange(first, first + number), slices * len(METHODS))
    n = len(person)
    names = pa.array([f"{number:016x}" for number in range(first, first + number)]).take(pa.array(person - first))
    film = person % 10 == 9
    lung = rng.integers(10_000, 80_000, n)
    infected = (lung * rng.beta(1, 6, n)).astype(np.int64)
    percent = 100 * infected / lung
    probability = rng.random(n, np.float32)
    told = {
        "image_id": words(number * slices, 16, rng).take(rows),
        "patient_id": names,
        "study_id": names,
        "series_id": names,
        "slice_index": pa.array(np.tile(np.repeat(np.arange(slices), len(METHODS)), number), pa.int32()),
        "modality": pa.array(np.where(film, "xr", "ct")),
        "method": pa.array(np.tile(METHODS, number * slices)),
        "covid_probability": pa.array(probability),
        "covid_positive": pa.array(probability > 0.5),
        "lung_px": pa.array(lung),
        "infected_px": pa.array(infected),
        "lung_mm2": pa.array(lung * 0.49),
        "infected_mm2": pa.array(infected * 0.49),
        "infection_percent": pa.array(percent),
        "infection_percent_low": pa.array(0.8 * percent),
        "infection_percent_high": pa.array(np.minimum(100, 1.2 * percent + 1)),
        "left_lung_percent": pa.array(0.9 * percent),
        "right_lung_percent": pa.array(np.minimum(100, 1.1 * percent)),
        "left_lung_px": pa.array(lung // 2),
        "right_lung_px": pa.array(lung - lung // 2),
        "lesion_count": pa.array(rng.integers(0, 9, n), pa.int32()),
        "largest_lesion_mm2": pa.array(infected * 0.3),
        "source_sha256": words(number * slices, 64, rng).take(rows),
    }
    same = {
        "cohort": cohort,
        "qc_status": "ok",
        "qc_reasons": [],
        "classifier_id": "cov_ctnet@0123456789ab",
        "lung_model_id": "nabla3@0123456789ab",
        "infection_model_id": "cov_raseg@0123456789ab",
        "interval_status": "calibrated",
        "interval_level": 90.0,
        "interval_patients": 12,
        "pipeline_version": "0",
        "schema_version": "0",
    }
    columns = []
    for field in INFECTION.schema:
        if field.name in told:
            columns.append(told[field.name])
        elif field.name in same:
            columns.append(pa.array([same[field.name]], field.type).take(pa.array(np.zeros(n, np.int8))))
        else:
            columns.append(pa.nulls(n, field.type))
    return pa.Table.from_arrays(columns, schema=INFECTION.schema)


def pieces(rows: int, piece: int = 500, slices: int = 100) -> Iterator[pa.Table]:
    """Tables of about `rows` rows together, `piece` patients each."""
    number = rows // (slices * len(METHODS))
    for first in range(0, number, piece):
        yield patients(first, min(piece, number - first), slices)
