"""What covidpipe is made of: the licences of everything it needs, and what is known against it.

`make licenses` writes docs/licenses.md from the metadata of what is installed; `make vulnerabilities` lets pip-audit
ask OSV (osv.dev, or a mirror of it that OSV_URL names) about every pinned package: that needs a network, and says so
where there is none.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "licenses.md"
LOCK = ROOT / "envs" / "cpu.lock"

# Words of a licence that may be used by, or beside, a program under Apache-2.0. Copyleft that reaches only
# its own files (LGPL, MPL) stays with them: they are installed, never copied into ours.
COMPATIBLE = (
    *(
        "0BSD",
        "Apache",
        "Artistic",
        "BSD",
        "BSL-1.0",
        "Boost",
        "CC0",
        "HPND",
        "ISC",
        "MIT",
        "MIT-CMU",
        "Unlicense",
        "UNLICENSE",
    ),
    *("PSF", "Python Software Foundation", "Zlib", "ZPL", "Public Domain", "NCSA"),
)
OWN_FILES = ("LGPL", "MPL", "Lesser General Public", "Mozilla Public")
# Where classifiers list what is not meant together: a choice, and files that are not part of what is used.
TOLD = {
    "atheris": "Apache-2.0 (its licence file)",
    "docutils": "Public Domain AND BSD-2-Clause (GPL: an Emacs mode that is not installed)",
    "text-unidecode": "Artistic-1.0 OR GPL-2.0-or-later",
}
# How licence files begin, where metadata says nothing else.
BEGINNINGS = {
    "MIT License": "MIT", "The MIT License": "MIT", "Permission is hereby granted, free of charge": "MIT",
    "Apache License": "Apache-2.0", "BSD 3-Clause": "BSD-3-Clause", "BSD 2-Clause": "BSD-2-Clause",
    "Redistribution and use in source and binary forms": "BSD",
}  # fmt: skip


def dependencies(extras: Iterable[str] = ("cpu", "dev")) -> dict[str, metadata.Distribution]:
    """Everything installed that covidpipe needs, directly or not, by name; the extras' needs too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    found: dict[str, metadata.Distribution] = {}
    todo = [(Requirement(line), ("",)) for line in wanted]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement, asked = todo.pop()
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": e}) for e in asked):
            continue
        name = canonicalize_name(requirement.name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform, or an alternative that was not taken
        key = (name, frozenset(requirement.extras))
        if key not in seen:
            seen.add(key)
            found[name] = distribution
            todo += [(Requirement(line), ("", *requirement.extras)) for line in distribution.requires or ()]
    return dict(sorted(found.items()))


def licence(distribution: metadata.Distribution) -> str:
    """A package's licence in few words: its SPDX expression, else its classifiers, else the first line of its field."""
    told = distribution.metadata
    if (name := canonicalize_name(told["Name"])) in TOLD:
        return TOLD[name]
    if told.get("License-Expression"):
        return str(told["License-Expression"])
    classifiers = [line.split(" :: ")[-1] for line in told.get_all("Classifier") or () if line.startswith("License ::")]
    classifiers = [line for line in classifiers if line != "OSI Approved"]
    if classifiers:
        return "; ".join(sorted(classifiers))
    first = next((line.strip() for line in str(told.get("License") or "").splitlines() if line.strip()), "")
    return first[:60] or _of_file(distribution)


def _of_file(distribution: metadata.Distribution) -> str:
    for file in distribution.files or ():
        if re.match(r"(?i)(licen[cs]e|copying)", file.name):
            text = " ".join(file.read_text(encoding="utf-8").split())
            for words, name in BEGINNINGS.items():
                if words in text[:1500]:
                    return f"{name} (its licence file)"
    return "unknown"


def verdict(words: str) -> str:
    """``compatible``, ``compatible (own files)`` or ``look``: to be read by a person."""
    choices = re.split(r"\s+OR\s+", words)
    if any(all(_has(part, COMPATIBLE) for part in re.split(r"\s+AND\s+|;", choice)) for choice in choices):
        return "compatible"
    parts = re.split(r"\s+(?:AND|OR)\s+|;", words)
    return "compatible (own files)" if all(_has(part, (*COMPATIBLE, *OWN_FILES)) for part in parts) else "look"


def _has(part: str, words: tuple[str, ...]) -> bool:
    return any(word.lower() in part.lower() for word in words)


def page() -> str:
    """The licences of all dependencies as Markdown."""
    rows = [(name, found.version, licence(found)) for name, found in dependencies().items()]
    lines = [
        "# Licences of what covidpipe needs",
        "",
        "Written by `make licenses` from the packages' own metadata; covidpipe itself is under Apache-2.0.",
        "Everything is installed beside it and nothing is copied into it, so copyleft that covers a package's own",
        "files stays there.",
        "",
        "| package | version | licence | beside Apache-2.0 |",
        "|---|---|---|---|",
        *(f"| {name} | {version} | {words.replace('|', '/')} | {verdict(words)} |" for name, version, words in rows),
    ]
    return "\n".join(lines) + "\n"


def vulnerabilities(lock: Path = LOCK) -> int:
    """Print what is known against the pinned packages; 0: nothing, 1: something, 2: nobody could be asked."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--require-hashes"]
    command += ["--vulnerability-service", "osv", *(["--osv-url", url] if (url := os.environ.get("OSV_URL")) else [])]
    asked = subprocess.run([*command, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True)
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        why = (asked.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        print(
            f"NOT CHECKED: no database of vulnerabilities could be asked ({why[:300]}). Run this "
            "where there is a network."
        )
        return 2
    known = [(one["name"], one["version"], fault) for one in packages for fault in one.get("vulns", ())]
    for name, version, fault in known:
        print(f"{name} {version}: {fault['id']}; mended in {', '.join(fault['fix_versions']) or 'no version yet'}")
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    print(f"{len(packages)} packages of {lock.name}: {len(known)} known vulnerabilities"
          + (f"; not found in the database: {', '.join(skipped)}" if skipped else ""))  # fmt: skip
    return 1 if known else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["licenses"]:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"{PAGE.relative_to(ROOT)}: {len(dependencies())} packages")
    elif sys.argv[1:] == ["vulnerabilities"]:
        sys.exit(vulnerabilities())
    else:
        sys.exit(__doc__)
