"""The command line: instant, honest about what went wrong, and one subcommand a stage."""

from __future__ import annotations

import errno
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from covidpipe import cli
from covidpipe.errors import CovidpipeError, Preempted, UsageError
from covidpipe.examples import EXAMPLES
from covidpipe.io.files import write_table
from covidpipe.provenance import STAGE_TABLES
from covidpipe.schemas import SCHEMA_VERSION, SPLIT
from covidpipe.stages import cohort


def test_help_imports_nothing_heavy():
    heavy = ["tensorflow", "keras", "pandas", "numpy", "pyarrow", "pydantic", "snakemake", "scipy", "skimage"]
    code = f"import sys, covidpipe.cli as c; c.parser(); print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("command", [*STAGE_TABLES, "cohort", "check", "models", "datasets", "codebook", "validate"])
def test_every_stage_has_a_command_that_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: covidpipe {command}")


@pytest.mark.parametrize("argv", [[], ["cohrt"], ["cohort", "x"], ["models", "--jsn"], ["cohort", "x", "--cores", "0"]])
def test_wrong_usage_is_exit_2(argv, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(argv)
    assert left.value.code == cli.USAGE
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cohrt x", "Did you mean `cohort`? See `covidpipe --help`."),
        ("cohort x --out y --method kahn2020", "Did you mean `khan2020`? See `covidpipe cohort --help`."),
        (
            "cohort x --out y --metod=khan2020",
            "--metod=khan2020. Did you mean `--method`? See `covidpipe cohort --help`.",
        ),
        ("cohort x", "required: --out. See `covidpipe cohort --help`."),
    ],
)
def test_wrong_usage_names_what_is_near_and_where_help_is(line, told, capsys):
    with pytest.raises(SystemExit):
        cli.main(line.split())
    assert capsys.readouterr().err.endswith(f"{told}\n")


def test_a_folder_without_files_is_told_before_anything_is_made(tmp_path, capsys):
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    (tmp_path / "in" / ".hidden").touch()
    for argv in (["check"], ["cohort", "--out", str(tmp_path / "out")]):
        assert cli.main([*argv, str(tmp_path / "in")]) == cli.BAD_INPUT
        assert "no file can be seen in it. Give the folder of the images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "in" / "deeper" / "one.png").touch()
    assert cohort.holds_files(tmp_path / "in")


def test_bad_input_is_exit_3_and_one_sentence(tmp_path, capsys):
    assert cli.main(["ingest", "x", "--config", str(tmp_path / "none.yaml"), "--out", "o"]) == cli.BAD_INPUT
    (tmp_path / "c.yaml").write_text("sed: 1")
    assert cli.main(["ingest", "x", "--config", str(tmp_path / "c.yaml"), "--out", "o"]) == cli.BAD_INPUT
    assert cli.main(["check", str(tmp_path / "none")]) == cli.BAD_INPUT
    told = capsys.readouterr().err
    assert "Did you mean `seed`?" in told and "there is no such config file" in told
    assert "Traceback" not in told


def test_a_name_that_the_config_does_not_have_is_exit_2(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("cohorts: {winter: {path: x}}")
    argv = ["collect", "wintr", "--config", str(tmp_path / "c.yaml"), "--images", "i", "--out", "o", "s1", "s2"]
    assert cli.main(argv) == cli.USAGE
    assert "Did you mean `winter`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyboardInterrupt(), 130, "Run the same command again"),
        (OSError(errno.ENOSPC, "No space left on device"), 3, "No space left on device"),
        (FileExistsError(errno.EEXIST, "File exists", "out"), 3, "out: File exists. Give another path"),
        (CovidpipeError("said so"), 3, "covidpipe: said so"),
    ],
)
def test_what_stops_a_run_is_told(error, status, told, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(cohort, "run", fail)
    assert cli.main(["cohort", "in", "--out", "out"]) == status
    assert told in capsys.readouterr().err


def commands(parser):
    (found,) = [action.choices for action in parser._actions if action.dest == "==SUPPRESS==" and action.choices]
    return found


def test_every_command_has_an_example_that_it_understands():
    top = cli.parser()
    for name, command in commands(top).items():
        assert command.epilog and command.epilog.startswith("example:\n"), name
        lines = [line.strip() for line in command.epilog.replace("\\\n", "").splitlines()[1:]]
        assert any(line.startswith(f"covidpipe {name}") or f"(covidpipe {name} " in line for line in lines), name
        for line in lines:
            words = shlex.split(line.partition("$(")[2].partition(")")[0] or line, comments=True)
            words = words[: words.index(">")] if ">" in words else words
            assert top.parse_args(words[1:]).handler, line
    assert set(EXAMPLES) <= set(commands(top))


def test_help_takes_less_than_a_third_of_a_second_of_work():
    code = "import resource, covidpipe.cli as c; c.parser().format_help(); r = resource.getrusage(resource.RUSAGE_SELF)"
    code += "; print(r.ru_utime + r.ru_stime)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.3


def test_help_tells_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    told = capsys.readouterr().out
    for code in (cli.DONE, cli.USAGE, cli.BAD_INPUT, Preempted.exit_code, cli.INTERRUPTED):
        assert f" {code} " in told.partition("exit status:")[2]


def test_bash_completes_commands_and_words(tmp_path, capsys):
    assert cli.main(["completion", "bash"]) == 0
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    ask = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_covidpipe; echo "${COMPREPLY[@]}"'

    def offered(*words):
        command = ["bash", "-c", ask, str(tmp_path / "completion"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.split()

    assert offered("covidpipe", "coh") == ["cohort"]
    assert offered("covidpipe", "cohort", "x", "--method", "kh") == ["khan2020"]
    assert offered("covidpipe", "reference", "x") == ["xr"]
    assert offered("covidpipe", "check", "comp") == ["completion"]  # the file


def test_models_are_listed_for_programs(capsys):
    assert cli.main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["cov_ctnet"]["parameters"] == 14_463_882
    assert {"name", "task", "parameters", "image_shape", "reference"} <= set(rows["nabla3"])


def test_codebook_and_config_and_datasets_are_printed(capsys):
    assert cli.main(["codebook", "--json"]) == 0
    assert "infection_percent" in {row["column"] for row in json.loads(capsys.readouterr().out)}
    assert cli.main(["config"]) == cli.main(["datasets"]) == cli.main(["codebook"]) == 0


def test_validate_refuses_another_table(tmp_path, capsys):
    write_table(tmp_path / "t.parquet", [{"image_id": "a", "group": "g", "fold": 0}], SPLIT)
    assert cli.main(["validate", str(tmp_path / "t.parquet"), "--table", "infection"]) == cli.BAD_INPUT
    assert "columns differ" in capsys.readouterr().err
    assert cli.main(["validate", str(tmp_path / "t.parquet"), "--json"]) == 0, "the file says what it is"
    assert json.loads(capsys.readouterr().out) | {"file": ""} == {
        "file": "", "table": "split", "rows": 1, "files": 1, "schema": SCHEMA_VERSION,
    }  # fmt: skip


def test_a_study_without_a_cohort_says_so(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("seed: 1")
    assert cli.main(["show", "--config", str(tmp_path / "c.yaml")]) == cli.USAGE
    assert "no cohort, so no table to show. `covidpipe status`" in capsys.readouterr().err


def options(**changes):
    return {"methods": None, "modality": None, "intensity": None, "segment": "all"} | changes


def test_a_cohorts_config_is_the_same_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "my scans").mkdir()
    monkeypatch.chdir(tmp_path)
    config = cohort.config_for(Path("my scans"), Path("out"), **options(methods=["alom2020"], modality="xr"))
    (name,) = config.cohorts
    assert name == "my-scans" and config.methods == ["alom2020"]
    assert config.source_root(name) == tmp_path / "my scans"
    assert (config.results, config.cohorts[name].out) == (str(tmp_path / "out" / "work"), str(tmp_path / "out"))


def test_a_cohort_that_is_not_there_or_would_eat_its_own_output_is_refused(tmp_path):
    with pytest.raises(CovidpipeError, match="there is no such file or folder"):
        cohort.config_for(tmp_path / "none", tmp_path / "out", **options())
    with pytest.raises(UsageError, match="lies inside"):
        cohort.config_for(tmp_path, tmp_path / "out", **options())


SAYS = """
print("[Sun Nov 22 08:00:15 2026]"); print("Job 3: Reading the images of x"); print("Reason: Missing output files: o")
print("1 of 4 steps (25%) done"); print("Job 4: Segmenting x, shard 00000")
"""


def test_a_run_is_told_in_one_line_for_each_job(tmp_path, capsys):
    cohort.follow([sys.executable, "-c", SAYS], tmp_path / "log")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ", 1)[1].strip() for line in (line.lstrip() for line in lines)] == [
        "Reading the images of x",
        "Segmenting x, shard 00000  (1 of 4 done)",
    ]
    assert "Reason: Missing output files" in (tmp_path / "log").read_text()


def test_a_run_that_failed_is_told_by_its_faults_and_its_log(tmp_path):
    fails = SAYS + "print('covidpipe: x.zip: not an archive.'); raise SystemExit(1)"
    with pytest.raises(
        CovidpipeError, match=r"Its log is .*log\.\n  covidpipe: x\.zip: not an archive\.\n.*same command"
    ):
        cohort.follow([sys.executable, "-c", fails], tmp_path / "log")


def test_without_the_projects_snakefile_it_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(cohort.covidpipe, "__file__", str(tmp_path / "covidpipe" / "__init__.py"))
    with pytest.raises(CovidpipeError, match="make env"):
        cohort.snakefile()
