"""Errors keep what they say, and say what would work."""

from __future__ import annotations

import ast
import pickle
import re

import pytest

from covidpipe.errors import BadConfig, BadInput, UsageError, choose, did_you_mean
from covidpipe.provenance import PACKAGE
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


# A config's validators raise ValueError, which `config.parse` tells with the file and the key.
RAISED = {"CovidpipeError", "UsageError", "BadConfig", "BadInput", "BadTable", "BadWeights", "PatientLeak", "DiskFull"}
PARTS = re.compile(r"[.:;?] |, (?:and|but|found|such|came|not) ")


def messages() -> list[tuple[str, str]]:
    """Where each error of the package is made, and its message; what is filled in when it is raised stands as `…`."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            raised = RAISED | {"ValueError"} if file.name == "config.py" else RAISED
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in raised and node.args:
                said = node.args[-1]
                pieces = said.values if isinstance(said, ast.JoinedStr) else [said]
                text = "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in pieces)
                if len(text.strip("….")) > 3:  # else it was made elsewhere
                    found.append((f"{file.relative_to(PACKAGE)}:{node.lineno}", text))
    return found


def test_every_error_says_more_than_what_went_wrong():
    """As far as a program can tell: there is a second part, which says what was wanted or what would work."""
    found = messages()
    assert len(found) > 150
    alone = [
        f"{place}: {text}"
        for place, text in found
        if len(PARTS.split(re.sub(r"^[^ ]*…[^ ]*?(, \w+ …)?: ", "", text))) < 2
    ]
    assert not alone, "\n".join(alone)
    unended = [f"{place}: {text}" for place, text in found if text[-1] not in ".?…" and "config.py" not in place]
    assert not unended, "\n".join(unended)
