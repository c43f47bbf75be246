"""Places and days of images, from what their files tell of themselves."""

from __future__ import annotations

from datetime import date

from covidpipe import series


def row(place: float | None, instance: int | None, **more) -> dict:
    return {
        "patient": ("p",),
        "study": "s",
        "series": "t",
        "slice_index": None,
        "modality": "ct",
        "accepted": True,
        "path": "x",
        "frame": 0,
        "position_mm": place,
        "reason": None,
        "slice_index_source": None,
        "instance": instance,
        "stated_slice_spacing_mm": 9.0,
        **more,
    }


def test_slices_are_ordered_by_position_else_by_instance():
    rows = [row(10.0, 1), row(-5.0, 2), row(2.5, 3), row(None, 4, accepted=False)]
    series.place(rows)
    assert [r["slice_index"] for r in rows] == [2, 0, 1, None]
    assert {r["slice_spacing_mm"] for r in rows} == {7.5}
    rows = [row(None, 7), row(None, 3)]
    series.place(rows)
    assert [(r["slice_index"], r["slice_spacing_mm"]) for r in rows] == [(1, 9.0), (0, 9.0)]
    rows = [row(4.0, 1, slice_index=8), row(1.0, 2, slice_index=9)]
    series.place(rows)
    assert [(r["slice_index"], r["slice_spacing_mm"]) for r in rows] == [(8, 3.0), (9, 3.0)]
    assert {r["slice_index_source"] for r in rows} == {"list"}
    rows = [row(None, None), row(1.0, 3)]
    series.place(rows)
    assert [r["slice_index"] for r in rows] == [None, None]


def test_without_a_clue_slices_come_in_the_order_of_their_files():
    rows = [row(None, None, path=f"slice-{n}.dcm") for n in (10, 9, 100)]
    series.place(rows)
    assert [r["slice_index"] for r in rows] == [1, 0, 2]
    assert {r["slice_index_source"] for r in rows} == {"file_order"}


def test_positions_count_from_the_lowest_slice_and_localizers_have_none():
    localizer = row(900.0, 0, accepted=False, reason="not_axial")
    broken = row(-310.0, 3, accepted=False, reason="unreadable")
    rows = [row(-300.0, 2), row(-305.0, 1), localizer, broken]
    series.place(rows)
    assert [r["position_mm"] for r in rows] == [10.0, 5.0, None, 0.0]
    assert [r["slice_index"] for r in rows] == [2, 1, None, 0]
    film = row(7.0, 1, modality="xr")
    series.place([film])
    assert film["position_mm"] is film["slice_index"] is None


def test_of_dates_only_the_days_between_a_patients_studies_are_kept():
    def of(patient, study, day):
        return {"patient": patient, "study": study, "study_date": day and date(2020, 3, day)}

    rows = [of(("p",), "b", 31), of(("p",), "a", 22), of(("p",), "b", 30), of(("p",), "b", None)]
    rows += [of(("q",), "c", 25), of(("q",), "d", None), of((), "e", 1)]
    series.count_days(rows)
    assert [r["study_day"] for r in rows] == [8, 0, 8, 8, 0, None, None]
