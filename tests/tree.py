"""A copy of the package as it is now: for runs that must not notice, or must not do, what is done to the original."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent


def copy_tree(names: tuple[str, ...], to: Path) -> None:
    """Copy files and folders of the project into the folder `to`, without what Python and tools left in them."""
    to.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(ROOT / name, to / name)
