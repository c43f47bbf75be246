"""The reference as pages: every command, config key, column and reason, from where each is declared.

    python workflow/scripts/write_reference.py reference

writes commands.md, config.md and columns.md to the folder `reference`. Nothing of it is kept in the repository: it
would be a second place for each fact.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from covidpipe import __version__, cli
from covidpipe.config import commented
from covidpipe.io.files import write_text
from covidpipe.schemas import REASONS, SCHEMA_VERSION, TABLES


def commands() -> str:
    """Every command with its help, as a terminal of 100 columns shows it."""
    top = cli.parser()
    parts = [
        "# Commands",
        f"Of covidpipe {__version__}; `covidpipe COMMAND --help` shows the same.",
        _block(_help(top)),
    ]
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                parts += [f"## {name}", _block(_help(command))]
    return "\n\n".join(parts) + "\n"


def _help(parser: argparse.ArgumentParser) -> str:
    given = parser.formatter_class
    parser.formatter_class = lambda prog: given(prog, width=100)  # type: ignore[assignment, misc]
    return parser.format_help()


def _block(text: str, kind: str = "text") -> str:
    return f"```{kind}\n{text.rstrip()}\n```"


def configuration() -> str:
    """Every key of a config, its default and its meaning."""
    said = f"Of covidpipe {__version__}; `covidpipe config` prints the same."
    return "\n\n".join(("# Config", said, _block(commented(), "yaml"))) + "\n"


def columns() -> str:
    """Every column of every table, and every reason code."""
    parts = ["# Columns", f"Schema {SCHEMA_VERSION}; `covidpipe codebook --table NAME` prints the same."]
    for name, spec in TABLES.items():
        parts += [f"## {name}", f"{spec.grain[0].upper()}{spec.grain[1:]}.", "\n".join(_rows(spec.columns))]
    reasons = [f"| `{code}` | {sentence} |" for code, sentence in REASONS.items()]
    parts += ["## Reasons", "\n".join(["| code | what it says |", "|---|---|", *reasons])]
    return "\n\n".join(parts) + "\n"


def _rows(declared: tuple) -> Iterator[str]:
    yield "| column | type | unit | range | null means | meaning |"
    yield "|---|---|---|---|---|---|"
    for column in declared:
        facts = column.facts
        cells = [f"`{column.name}`", *(facts[key] for key in ("type", "unit", "range", "null_means", "text"))]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PAGES = {"commands.md": commands, "config.md": configuration, "columns.md": columns}


def main(argv: list[str]) -> int:
    if len(argv) != 1:
        print("usage: write_reference.py FOLDER", file=sys.stderr)
        return cli.USAGE
    for name, write in PAGES.items():
        write_text(Path(argv[0]) / name, write())
    print(f"{argv[0]}: {', '.join(PAGES)}")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
