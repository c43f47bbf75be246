"""The scripts below workflow/scripts, which are no package, as modules."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "workflow" / "scripts"


@contextmanager
def script(name: str) -> Iterator[ModuleType]:
    """The script `name`, with those beside it importable, as when it is run."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        patch.setitem(sys.modules, name, module)  # dataclasses look themselves up
        spec.loader.exec_module(module)
        yield module
