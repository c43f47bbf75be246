"""Refinement of lung masks, on drawings with answers made by hand."""

import numpy as np

from covidpipe.quantify.lungs import fill_holes, keep_large, lung_warnings, refine_lungs


def drawing(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def two_lungs() -> np.ndarray:
    mask = np.zeros((100, 100), bool)
    mask[20:80, 10:40] = True
    mask[20:80, 60:90] = True
    return mask


def test_keeps_both_lungs_and_drops_specks():
    mask = two_lungs()
    wanted = mask.copy()
    mask[5:10, 48:53] = True  # 25 px beside 1800: a piece of bowel
    assert np.array_equal(refine_lungs(mask), wanted)


def test_keeps_a_small_second_lung():
    mask = np.zeros((100, 100), bool)
    mask[20:80, 10:40] = True  # 1800 px
    mask[40:55, 70:85] = True  # 225 px: more than a tenth
    assert np.array_equal(refine_lungs(mask), mask)


def test_fills_a_lesion_but_not_the_mediastinum():
    mask = two_lungs()
    wanted = mask.copy()
    mask[40:50, 20:28] = False  # 80 px, a lesion of 2 %
    assert np.array_equal(refine_lungs(mask), wanted)
    ring = np.zeros((100, 100), bool)
    ring[10:90, 10:90] = True
    ring[30:70, 30:70] = False  # 1600 of 4800 px: what lies between lungs that touch
    changed = refine_lungs(ring) ^ ring
    assert changed.sum() == 4 * 3 and not changed[32:68, 32:68].any()  # closing rounds the four corners, no more


def test_never_adds_far_away_and_keeps_empty_empty():
    rng = np.random.default_rng(0)
    mask = rng.random((60, 60)) > 0.9
    added = refine_lungs(mask) & ~mask
    rows, columns = np.nonzero(mask)
    near = np.array([np.min(np.maximum(abs(rows - r), abs(columns - c))) for r, c in zip(*np.nonzero(added))])  # noqa: B905
    assert added.any() and near.max() <= 2
    assert not refine_lungs(np.zeros((20, 20), bool)).any()
    assert refine_lungs(np.ones((20, 20), bool)).all()


def test_fill_holes_and_keep_large_by_hand():
    mask = drawing("######", "#..#.#", "#..###", "######")
    assert np.array_equal(fill_holes(mask, 1), drawing("######", "#..###", "#..###", "######"))
    assert fill_holes(mask).all()
    open_at_the_border = drawing("###", "#..", "###")
    assert np.array_equal(fill_holes(open_at_the_border), open_at_the_border)
    assert np.array_equal(keep_large(drawing("#..#", "...#"), 2), drawing("...#", "...#"))


def test_lung_warnings():
    assert lung_warnings(two_lungs()) == []
    assert lung_warnings(np.zeros((9, 9), bool)) == []
    one = two_lungs()
    one[:, 50:] = False
    assert lung_warnings(one) == ["single_lung"]
    joined = two_lungs()
    joined[48:52, 40:60] = True  # lungs that touch are two lungs still
    assert lung_warnings(joined) == []
    small = np.zeros((100, 100), bool)
    small[40:45, 10:30] = small[40:45, 60:80] = True
    assert lung_warnings(small) == ["lung_area_unusual"]
    assert lung_warnings(np.ones((10, 20), bool)) == ["lung_area_unusual"]
