"""What every test can ask for, and what makes a test's answer the same tomorrow: no seed, key or example is new."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent

# New examples are looked for by `make fuzz` and `pytest --hypothesis-profile=default`, not by who wants to know whether
# a change is good.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True, scope="module")
def same_seed() -> None:
    """The same first weights of networks, whichever files ran before: Keras draws their seeds from Python's random."""
    random.seed(0)


@pytest.fixture(autouse=True, scope="session")
def id_key(tmp_path_factory) -> Iterator[Path]:
    """A key of the tests' own: no test touches the user's. One for all: tables of a module's fixture are read later.

    Always the same: hashes are sorted by and split into folds.
    """
    path = tmp_path_factory.mktemp("key") / "id.key"
    path.touch(mode=0o600)
    path.write_text("5" * 64, encoding="ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVIDPIPE_ID_KEY", str(path))
        yield path


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory) -> Iterator[Path]:
    """A cache of the tests' own: nothing is found in the user's, and nothing is left there."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real images, or a skip that says how to point at them."""
    folder = Path(os.environ.get("COVIDPIPE_DATA") or ROOT.parent / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}: set COVIDPIPE_DATA to their folder")
    return folder
