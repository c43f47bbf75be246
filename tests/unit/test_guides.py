"""The guides: every command is one that there is, every link leads somewhere, and what is light is run."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from pathlib import Path

import duckdb
import pytest
import yaml

from covidpipe import cli, config
from covidpipe.io.files import read_frame, write_pieces
from covidpipe.records import ImageRecord
from covidpipe.registry import DatasetSpec
from covidpipe.schemas import INFECTION, REASONS, TABLES

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "config/README.md",
    ROOT / "config/published/README.md",
    ROOT / "results/README.md",
]
SHELL = ("", "sh", "bash", "console")
MADE_BY_THE_GUIDE = {"config/winter.yaml"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shell_lines(page: Path) -> list[str]:
    """Commands of a page: in code blocks of a shell, and in indented ones; without comments, continued lines joined."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    lines = [
        line.strip() for _, kind, code in fenced if kind in SHELL for line in code.replace("\\\n", " ").splitlines()
    ]
    outside = re.sub(r"^( *)```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [line.strip() for line in re.findall(r"^(?: {4}|\t)(\S.*)$", outside, re.MULTILINE)]
    commands = [re.split(r"\s#\s|\s#$", line)[0].strip() for line in lines]
    return [
        re.sub(r"^\$ ", "", line) for line in commands if re.match(r"(\$ )?(covidpipe|make|snakemake) ", line + " ")
    ]


def shell_text(page: Path) -> str:
    """All of a page's shell blocks and indented lines, comments included."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return "\n".join(
        [code for kind, code in fenced if kind in SHELL] + re.findall(r"^(?: {4}|\t)\S.*$", text, re.MULTILINE)
    )


def mentioned(page: Path) -> list[str]:
    """Commands within sentences."""
    return re.findall(r"`(covidpipe [^`]+)`", page.read_text(encoding="utf-8").replace("\n", " "))


def known_commands() -> dict:
    return next(action.choices for action in cli.parser()._actions if isinstance(action.choices, dict))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_a_block_is_understood(page):
    for line in shell_lines(page):
        program, *words = shlex.split(re.split(r"\s[|>]\s", line)[0])
        if program == "covidpipe" and words and not words[0].startswith("-"):
            try:
                cli.parser().parse_args(words)
            except SystemExit as left:
                assert left.code == cli.DONE, f"{name_of(page)}: {line}"
        elif program == "make":
            rules = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {word for word in words if "=" not in word} <= set(rules), f"{name_of(page)}: {line}"
        elif program == "snakemake" and "--configfile" in words:
            file = words[words.index("--configfile") + 1]
            assert (ROOT / file).is_file() or file in MADE_BY_THE_GUIDE, f"{name_of(page)}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_script_that_a_page_calls_is_there(page):
    text = page.read_text(encoding="utf-8")
    for script, given in re.findall(r"python (workflow/\S+\.py)([^\n`]*)", text):
        assert (ROOT / script).is_file(), f"{name_of(page)}: {script}"
        for file in re.findall(r"--config (\S+)", given):
            assert (ROOT / file).is_file(), f"{name_of(page)}: {file}"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"covidpipe\[([\w-]+)\]", text)) <= set(extras), name_of(page)


def test_the_sql_of_the_results_folder_runs(tmp_path, monkeypatch):
    (query,) = re.findall(r'duckdb -c "([^"]+)"', shell_text(ROOT / "results" / "README.md"))
    monkeypatch.chdir(tmp_path)
    write_pieces("infection.parquet", [INFECTION.schema.empty_table()], INFECTION)
    assert duckdb.sql(query).columns == ["method", "count_star()", "avg(infection_percent)"]


def yaml_blocks(page: Path) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if yaml_blocks(page)], ids=name_of)
def test_every_piece_of_a_config_is_one(page):
    for block in yaml_blocks(page):
        given = yaml.safe_load(block)
        if page.name == "cluster.md":  # a profile of Snakemake, whose rules are those of the workflow
            rules = "".join(file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk"))
            assert set(given) <= {"cores", "default-resources", "set-resources"}, block
            assert all(f"\nrule {rule}:" in rules for rule in given["set-resources"]), block
        else:
            assert config.parse(given, name_of(page)).results, block


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_a_sentence_is_one_with_such_options(page):
    known = known_commands()
    for line in mentioned(page):
        words = line.split()[1:]
        if words[0].startswith("-") or not words[0].isalpha() or words[0].isupper():
            continue
        assert words[0] in known, f"{name_of(page)}: {line}"
        options = {option for action in known[words[0]]._actions for option in action.option_strings}
        said = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
        assert said <= options, f"{name_of(page)}: {line}"


def anchors(page: Path) -> set[str]:
    """What a heading is called in a link, as forges make it."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower()).replace(" ", "-")
        for head in heads
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    ):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{name_of(page)}: {target}"
        assert not anchor or anchor in anchors(there), f"{name_of(page)}: {target}"


def test_the_site_has_every_page_in_its_contents():
    script = runpy.run_path(str(ROOT / "workflow" / "scripts" / "build_site.py"))
    listed = [name for names in script["CONTENTS"].values() for name in names]
    written = {str(page.with_suffix("")).removeprefix("docs/") for page in script["pages"]()} - {"README"}
    assert {str(page.relative_to(ROOT)) for page in PAGES} == {str(page) for page in script["pages"]()}
    assert sorted(listed) == sorted(written | {"reference/commands", "reference/config", "reference/columns"})


def test_a_page_of_the_site_can_be_used_by_keys_and_a_link_to_a_file_brings_the_file(tmp_path):
    script = runpy.run_path(str(ROOT / "workflow" / "scripts" / "build_site.py"))
    assert script["accessible"]("<pre>x</pre>") == '<pre tabindex="0">x</pre>'
    script["gather"](tmp_path)
    assert (tmp_path / "index.md").read_text().startswith("# covidpipe") and not (tmp_path / "README.md").exists()
    assert (tmp_path / "docs" / "phantom.png").is_file() and (tmp_path / "config" / "config.yaml").is_file()
    assert "# Commands" in (tmp_path / "reference" / "commands.md").read_text()
    assert not [page for page in tmp_path.rglob("*.md") if "](../README.md" in page.read_text(encoding="utf-8")]


def test_the_first_cohorts_light_steps_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    run = {line.split()[1]: shlex.split(line)[1:] for line in shell_lines(ROOT / "docs" / "first-cohort.md")}
    assert {"doctor", "phantoms", "check", "cohort", "show", "init", "status"} <= set(run)
    run["phantoms"][run["phantoms"].index("--patients") + 1] = "1"  # one of them is enough to see that it works
    assert cli.main(run["phantoms"]) == cli.DONE
    assert cli.main(run["check"]) == cli.DONE
    assert capsys.readouterr().out.endswith("8 of 8 images would be quantified.\n")
    assert cli.main(run["init"]) == cli.DONE
    assert config.load("config/winter.yaml").cohorts["winter"].modality == "ct"
    (exported,) = re.findall(r"`covidpipe (export [^`]+)`", (ROOT / "docs" / "first-cohort.md").read_text())
    (tmp_path / "results" / "first").mkdir(parents=True)
    write_pieces("results/first/infection.parquet", [INFECTION.schema.empty_table()], INFECTION)
    assert cli.main(exported.split()) == cli.DONE
    assert (tmp_path / "results" / "first" / "infection.csv").exists()
    assert len(read_frame(Path("results/first/infection.parquet"), INFECTION)) == 0


def test_the_dataset_of_the_guide_is_one(tmp_path):
    page = (ROOT / "docs" / "adding.md").read_text()
    parser, entry = (
        "\n".join(line.removeprefix("   ") for line in code.splitlines())
        for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    )
    names: dict = {"DatasetSpec": DatasetSpec}
    exec(parser, names)
    (tmp_path / "index.csv").write_text("file,patient,slice\na.png,7,0\nb.png,7,1\n")
    first, second = names["records"](tmp_path)
    assert isinstance(first, ImageRecord) and first.patient == second.patient == "harbor/7"
    assert (first.path, second.slice_index, second.lung_mask_path) == ("ct/a.png", 1, "lung/b.png")
    spec = eval(entry, names)
    assert spec.module == f"covidpipe.datasets.{spec.name}" and "infection_mask" in spec.truth


def test_troubleshooting_names_reasons_and_messages_that_there_are():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    for code in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page, re.MULTILINE):
        assert set(re.findall(r"\w+", code)) <= set(REASONS), code
    package = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "covidpipe").rglob("*.py"))
    for said in ("Mend this and run the same command", "lies inside", "columns differ from its schema",
                 "there is no such config file", "is not a key", "so the dataset is not there"):  # fmt: skip
        assert said in package, said
        assert said.removeprefix("so ") in page, said


def test_a_command_that_is_not_there_would_be_noticed(tmp_path):
    page = tmp_path / "x.md"
    page.write_text("Text\n\n    covidpipe cohrt x --out y\n\n```\ncovidpipe check \\\n  here   # why\n```\n")
    assert shell_lines(page) == ["covidpipe check    here", "covidpipe cohrt x --out y"]


def test_the_reference_holds_every_command_key_column_and_reason(tmp_path, capsys):
    script = runpy.run_path(str(ROOT / "workflow" / "scripts" / "write_reference.py"))
    assert script["main"]([str(tmp_path)]) == cli.DONE and script["main"]([]) == cli.USAGE
    commands, keys, columns = ((tmp_path / page).read_text() for page in ("commands.md", "config.md", "columns.md"))
    for name in known_commands():
        assert f"\n## {name}\n" in commands and f"usage: covidpipe {name}" in commands, name
    assert all(re.search(rf"^{key}:", keys, re.MULTILINE) for key in config.Config.model_fields)
    for spec in TABLES.values():
        section = columns.partition(f"\n## {spec.name}\n")[2].partition("\n## ")[0]
        assert all(f"| `{name}` | " in section for name in spec.names), spec.name
        lines = [line for line in section.splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {7}, spec.name
    assert all(f"| `{code}` | " in columns for code in REASONS)
