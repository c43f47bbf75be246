"""The documentation as a site that opens offline: README, docs/, the READMEs of folders, and the reference.

    python workflow/scripts/build_site.py results/site

writes results/site/index.html. A link that leads nowhere, an unknown heading or a page that no list of contents names
stops it. Links to files that are no pages (a config, a figure) are copied along.
"""

from __future__ import annotations

import re
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sphinx.cmd.build import main as sphinx

from covidpipe.io.files import replacing, write_text

ROOT = Path(__file__).parents[2]

# The lists of contents, in the order in which one reads; "docs/" and ".md" are left out.
CONTENTS: dict[str, tuple[str, ...]] = {
    "Begin": ("first-cohort", "troubleshooting", "api"),
    "Read the table": ("reading-the-table", "table", "intervals", "figure", "results/README"),
    "Run a study": ("config/README", "cluster", "training", "models", "adding"),
    "How far to trust it": (
        *("agreement", "weights", "leaderboard", "threshold", "evaluation", "splits", "leakage", "reproduction"),
    ),
    "Look up": ("reference/commands", "reference/config", "reference/columns", "config/published/README"),
    "About": ("architecture", "performance", "privacy", "licenses", "CHANGELOG"),
}


def pages() -> list[Path]:
    """Every page that is written by hand, below the repository's root."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
    found += [ROOT / folder / "README.md" for folder in ("config", "config/published", "results")]
    return [page.relative_to(ROOT) for page in found]


def gather(folder: Path) -> None:
    """Lay all pages, and what they show or link to, into `folder` as they lie in the repository."""
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        if page == Path("README.md"):
            page, text = Path("index.md"), text + _contents()
        place = folder / page
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(re.sub(r"\]\(\.\./README\.md", "](../index.md", text), encoding="utf-8")
        _bring(folder, page.parent, re.findall(r"\]\(([^)#\s]+)", text))
    written = runpy.run_path(str(ROOT / "workflow" / "scripts" / "write_reference.py"))["PAGES"]
    for name, write in written.items():
        write_text(folder / "reference" / name, write())


def _contents() -> str:
    """Lists of contents for Sphinx, one a heading of the menu."""
    blocks = []
    for heading, names in CONTENTS.items():
        listed = "\n".join(name if "/" in name or name.isupper() else f"docs/{name}" for name in names)
        blocks.append(f"```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{listed}\n```")
    return "\n\n" + "\n\n".join(blocks) + "\n"


def _bring(folder: Path, beside: Path, targets: Iterable[str]) -> None:
    """Copy the files that a page links to and that are no pages themselves."""
    for target in targets:
        file = (ROOT / beside / target).resolve()
        if file.is_file() and file.suffix != ".md":
            place = folder / file.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def accessible(page: str) -> str:
    """What the theme leaves out: levels of the menu's headings, and a way for keys into what scrolls.

    >>> accessible('<pre><p class="caption" role="heading">')
    '<pre tabindex="0"><p class="caption" role="heading" aria-level="2">'
    """
    page = page.replace('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">')
    page = page.replace("<pre>", '<pre tabindex="0">')
    page = page.replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')
    return page.replace('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="Pages">')


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as gathered, replacing(argv[0]) as site:
        gather(Path(gathered))
        strict = ("--fail-on-warning", "--keep-going", "--nitpicky", "--quiet")
        if sphinx(["--builder", "html", *strict, "--conf-dir", str(ROOT / "docs"), gathered, str(site)]):
            raise SystemExit(3)  # what was there before stays
        for kept in (".doctrees", "_sources"):
            shutil.rmtree(site / kept, ignore_errors=True)
        for page in site.rglob("*.html"):
            page.write_text(accessible(page.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{argv[0]}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
