"""Folds that prove themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidpipe.errors import BadTable, PatientLeak
from covidpipe.splits import (
    Shared,
    check_apart,
    check_no_leak,
    check_together,
    grouped_folds,
    joined_groups,
    parts,
    published_folds,
    random_folds,
)

# Slices of the nine patients of medseg829: one of them has half of all.
UNEQUAL = (418, 93, 66, 45, 45, 42, 42, 39, 39)


def patients(sizes) -> np.ndarray:
    return np.repeat([f"patient {number}" for number in range(len(sizes))], sizes)


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=25), folds=st.integers(2, 6), seed=st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_every_group_has_one_fold_and_no_fold_is_empty(sizes, folds, seed):
    groups = patients(sizes)
    labels = np.random.default_rng(seed).random(len(groups)) > 0.5
    if len(sizes) < folds:
        with pytest.raises(BadTable, match=f"there are {len(sizes)}"):
            grouped_folds(groups, labels, folds, seed)
        return
    fold = grouped_folds(groups, labels, folds, seed)
    assert set(fold) == set(range(folds))
    for tested in range(folds):
        check_no_leak(groups, parts(fold, tested, folds))
    np.testing.assert_array_equal(fold, grouped_folds(groups, labels, folds, seed))


def test_very_unequal_patients():
    groups = patients(UNEQUAL)
    fold = grouped_folds(groups, np.zeros(len(groups)), 5, seed=0)
    sizes = np.sort(np.bincount(fold))
    assert sizes[-1] == 418  # nobody is put beside the largest patient
    assert sizes[0] >= 80  # the other 411 images in four folds: 103 each, were patients divisible


def test_many_small_groups_are_balanced_in_size_and_labels():
    random = np.random.default_rng(0)
    groups = patients(random.integers(1, 12, 400))
    labels = random.random(400)[np.unique(groups, return_inverse=True)[1]] < 0.2
    fold = grouped_folds(groups, labels, 5, seed=1)
    sizes = np.bincount(fold)
    rates = np.bincount(fold, labels) / sizes
    assert sizes.max() - sizes.min() <= 0.03 * sizes.mean()
    assert np.ptp(rates) < 0.01


def test_rare_label_reaches_every_fold():
    groups = patients([10] * 20)
    labels = np.isin(groups, [f"patient {number}" for number in (2, 3, 5, 7, 11)])
    fold = grouped_folds(groups, labels, 5, seed=0)
    assert all(labels[fold == one].any() for one in range(5))


def test_the_seed_decides_between_equals():
    groups = patients([5] * 30)
    first, second = (grouped_folds(groups, np.zeros(150), 5, seed) for seed in (0, 1))
    assert (first != second).any()


def test_random_folds_are_even_and_leak():
    fold = random_folds(103, 5, seed=0)
    assert np.bincount(fold).tolist() == [21, 21, 21, 20, 20]
    with pytest.raises(PatientLeak):
        check_no_leak(patients((60, 43)), parts(fold, 0, 5))
    with pytest.raises(BadTable, match="there are 3"):
        random_folds(3, 5, seed=0)


@given(
    listed=st.lists(st.sampled_from(["train", "test", None]), min_size=6, max_size=60),
    folds=st.integers(2, 6),
    seed=st.integers(0, 5),
)
def test_published_folds_follow_the_lists_and_are_even(listed, folds, seed):
    fold = published_folds(listed, folds, seed)
    names = np.array([name or "" for name in listed])
    assert (fold[names == "test"] == 0).all() and (fold[names == "train"] > 0).all()
    for name, first in (("train", 1), ("", 0)):
        sizes = np.bincount(fold[names == name], minlength=folds)[first:]
        assert np.ptp(sizes) <= 1 and sizes.sum() == (names == name).sum()
    np.testing.assert_array_equal(fold, published_folds(listed, folds, seed))


def test_parts_go_round():
    fold = np.arange(4)
    assert parts(fold, 1, 4).tolist() == ["train", "test", "validation", "train"]
    assert parts(fold, 3, 4).tolist() == ["validation", "train", "train", "test"]


def test_a_planted_leak_is_named_with_its_parts():
    groups = ["patient 1a", "patient 2b", "patient 2b", "patient 3c"]
    with pytest.raises(PatientLeak, match=r"^1 groups.*patient 2b in test and train"):
        check_no_leak(groups, ["train", "train", "test", "test"])
    check_no_leak(groups, ["train", "test", "test", "train"])
    check_no_leak([], [])
    with pytest.raises(PatientLeak, match=r"patient 2b in test and train \(image d in test and image c in train\)"):
        check_no_leak(groups, ["train", "train", "test", "test"], ["b", "c", "d", "e"])


def test_a_torn_pair_is_named_with_its_reason():
    copy = Shared("d", "1", "d", "2", "near_duplicate", 0.97)
    patient = Shared("d", "3", "d", "4", "same_patient", None)
    kin = Shared("d", "5", "d", "6", "neighbour", 0.9)
    where = {"1": "train", "2": "test", "3": "train", "4": "train", "5": "train", "6": "validation"}
    with pytest.raises(
        PatientLeak, match=r"^2 pairs.*image 1 of d and image 2 of d: a near-duplicate \(r = 0\.97\); one is"
    ):
        check_together([kin, copy, patient], where.get)
    with pytest.raises(PatientLeak, match=r"image 5 of d and image 6 of d look like neighbouring slices \(r = 0\.90\)"):
        check_together([kin], where.get)
    check_together([patient], where.get)
    check_together([copy], {"1": "train"}.get)  # the other is in no part


def test_what_was_seen_is_refused_and_what_was_only_tested_is_not():
    pairs = [Shared("a", "1", "b", "9", "same_pixels", None), Shared("a", "2", "b", "9", "near_duplicate", 0.96)]
    check_apart(pairs, {"1": "test"}.get)
    with pytest.raises(
        PatientLeak, match=r"^1 images of b are not new to a network trained on a.*the same pixels; the first"
    ):
        check_apart(pairs, {"1": "validation", "2": "train"}.get)


def test_shared_keys_join_groups_through_others():
    people = ["a", "a", "b", None, None, "c"]
    pixels = ["1", "2", "2", "3", "3", None]
    assert joined_groups(people, pixels).tolist() == [0, 0, 0, 3, 3, 5]
    assert joined_groups(people).tolist() == [0, 0, 2, 3, 4, 5]
    assert joined_groups([None, None], [None, None]).tolist() == [0, 1]


@given(
    st.lists(st.tuples(st.integers(0, 6) | st.none(), st.integers(0, 6) | st.none()), max_size=25),
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), max_size=12),
)
def test_joined_groups_are_the_connected_components(keys, alike):
    people, pixels = [p for p, _ in keys], [q for _, q in keys]
    alike = [pair for pair in alike if max(pair) < len(keys)]
    reach = np.eye(len(keys), dtype=int)
    for i, j in itertools.permutations(range(len(keys)), 2):
        reach[i, j] = any(x is not None and x == y for x, y in zip(keys[i], keys[j], strict=True))
        reach[i, j] |= (i, j) in alike or (j, i) in alike
    for _ in keys:
        reach = (reach @ reach > 0).astype(int)
    wanted = [int(np.flatnonzero(row)[0]) for row in reach]
    assert joined_groups(people, pixels, pairs=alike).tolist() == wanted
