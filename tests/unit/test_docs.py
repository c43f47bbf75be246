"""What the guides show is run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from covidpipe.registry import ModelSpec

DOCS = Path(__file__).parents[2] / "docs"


def code_blocks(page: str) -> list[str]:
    """The Python of a page, without the indent of the list that it may stand in."""
    found = re.findall(r"^( *)```python\n(.*?)^ *```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in block.splitlines()) for indent, block in found]


def test_the_network_of_the_guide_is_one():
    use, architecture, line = code_blocks("models.md")[:3]
    names: dict = {"ModelSpec": ModelSpec}
    exec(use, names)
    assert names["network"].output_shape == (None, 304, 304, 2)
    exec(architecture, names)
    spec = eval(line.rstrip(","), names)
    network = names[spec.name](spec.image_shape, spec.classes)
    assert sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) == spec.trainable
    assert spec.module == f"covidpipe.models.{spec.name}"
