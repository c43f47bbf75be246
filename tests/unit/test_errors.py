"""Errors keep what they say, and say what would work."""

from __future__ import annotations

import pickle

import pytest

from covidpipe.errors import BadConfig, BadInput, UsageError, choose, did_you_mean
from covidpipe.schemas import REASONS


def test_bad_input_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(BadInput("blank", "Every pixel is 0.")))
    assert (error.reason, error.sentence, str(error)) == ("blank", "Every pixel is 0.", "Every pixel is 0.")


def test_exit_codes_tell_usage_from_bad_input():
    assert (UsageError.exit_code, BadConfig.exit_code, BadInput.exit_code) == (2, 3, 3)


def test_a_near_word_is_suggested_and_a_far_one_is_not():
    assert did_you_mean("nabla", ["nabla3", "unet"]) == " Did you mean `nabla3`?"
    assert did_you_mean("xyz", ["nabla3"]) == ""
    with pytest.raises(UsageError, match=r"No model is called `nabla`\. Known: nabla3, unet\. Did you mean"):
        choose("nabla", ["unet", "nabla3"], "model")


def test_every_reason_is_a_sentence():
    assert all(text[0].isupper() and text.endswith(".") for text in REASONS.values())
