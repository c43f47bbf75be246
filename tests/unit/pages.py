"""Pages of docs/ that are run: their code blocks, and what they print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """Language and code of a page's blocks, in their order; only those of `languages`, if any are given."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [(language, code) for language, code in found if not languages or language in languages]


def printed(codes: list[str], folder: Path) -> list[str]:
    """What each of a page's Python blocks prints, run one after the other in `folder`, as if they were one program."""
    names: dict = {}
    told = []
    with contextlib.chdir(folder):
        for code in codes:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, names)
            told.append(out.getvalue())
    return told
