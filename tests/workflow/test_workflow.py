"""The workflow itself: every config can be planned, faults are told in words, and it is lint clean."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from covidpipe import paths
from covidpipe.config import load
from covidpipe.report.study import RULES
from covidpipe.schemas import IMAGES, SHARDS
from covidpipe.study.plan import plan

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]


def snakemake(*arguments, cwd=ROOT):
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


STUDIES = sorted(set((ROOT / "config").glob("*.yaml")) - {ROOT / "config" / "datasets.yaml"})


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.name)
def test_every_config_can_be_planned(file, tmp_path):
    papers = ["paper"] if file.name.startswith("paper") else []
    (tmp_path / "config").symlink_to(ROOT / "config")  # the published numbers, told relative to the root
    planned = snakemake("cohort", "train", "evaluate", *papers, "-n", "--configfile", file, "--directory", tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and ".snakemake" not in path.parts]


def test_the_demo_trains_every_network_and_quantifies_every_cohort(tmp_path):
    planned = snakemake("demo", "-n", "--configfile", ROOT / "config" / "demo.yaml", "--directory", tmp_path)
    counts = dict(line.split() for line in planned.stdout.splitlines() if len(line.split()) == 2)
    wanted = {"phantoms": "2", "train_model": "4", "evaluate_model": "4", "collect": "2", "score": "2", "report": "2",
              "study": "1"}  # fmt: skip
    assert {rule: counts.get(rule) for rule in wanted} == wanted, planned.stdout + planned.stderr


@pytest.mark.parametrize("name", ["demo", "weights"])
def test_the_graph_of_the_study_report_is_that_of_snakemake(name, tmp_path, monkeypatch):
    file = ROOT / "config" / f"{name}.yaml"
    config = load(file)
    planned = plan(config)
    monkeypatch.chdir(tmp_path)
    for source in planned.subjects["ingest"]:  # Snakemake draws what is done with images once they are counted
        images = paths.images(config, source)
        images.parent.mkdir(parents=True)
        pq.write_table(IMAGES.schema.empty_table(), images)
        (images.parent / "signatures.parquet").touch()
        pq.write_table(SHARDS.schema.empty_table(), images.parent / "shards.parquet")
    targets = ("cohort", "train", "evaluate")
    drawn = snakemake(*targets, "--rulegraph", "dot", "--configfile", file, "--directory", tmp_path, cwd=tmp_path)
    names = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', drawn.stdout, re.MULTILINE))
    lines = re.findall(r"^\s*(\d+) -> (\d+)$", drawn.stdout, re.MULTILINE)
    told: dict[str, set[str]] = {rule: set() for rule in names.values() if rule not in targets}
    for needed, needing in lines:
        if names[needing] in told:
            told[names[needing]].add(names[needed])

    def reached(graph, rule):
        return set().union(*({one} | reached(graph, one) for one in graph.get(rule, ())))

    ours = {rule: reached(planned.needs, rule) for rule in planned.needs}
    assert {rule: reached(told, rule) for rule in told} == ours, drawn.stderr


def test_every_rule_has_its_box_on_the_study_report_or_a_reason_to_have_none():
    files = [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    pattern = r"^(?:rule|checkpoint|use rule \w+ as) (\w+)(?: with)?:"
    rules = {name for file in files for name in re.findall(pattern, file.read_text(encoding="utf-8"), re.MULTILINE)}
    targets = {"cohort", "train", "evaluate", "leakage", "demo"}
    pages_of_their_own = {"leakage_page", "leaderboard", "checks", "frames", "paper"}
    trial_of_a_cluster = {"preflight_login", "preflight_cpu", "preflight_gpu", "preflight"}
    instead_of_collect = {"collect_large"}
    assert rules - set(RULES) == targets | pages_of_their_own | trial_of_a_cluster | instead_of_collect
    assert set(RULES) <= rules


def test_no_network_is_trained_before_its_test_part_is_proven_to_be_new(tmp_path):
    planned = snakemake("leakage", "-n", "--configfile", ROOT / "config" / "leakage.yaml", "--directory", tmp_path)
    counts = dict(line.split() for line in planned.stdout.splitlines() if len(line.split()) == 2)
    wanted = {"duplicates": "2", "split": "4", "apart": "8", "train_model": "8", "evaluate_model": "8"}
    assert {rule: counts.get(rule) for rule in wanted} == wanted, planned.stdout + planned.stderr


def test_an_unknown_key_is_told_without_a_traceback(tmp_path):
    (tmp_path / "study.yaml").write_text("imgae_size: 3\nshard_image: 2\n")
    planned = snakemake("-n", "--configfile", tmp_path / "study.yaml", cwd=tmp_path)
    told = planned.stdout + planned.stderr
    assert planned.returncode != 0
    assert "study.yaml: `shard_image` is not a key. Did you mean `shard_images`?" in told
    assert "Traceback" not in told


def test_the_workflow_is_lint_clean():
    linted = snakemake("--lint", "--configfile", ROOT / "config" / "demo.yaml")
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_every_rule_says_what_it_does_logs_it_and_reruns_when_its_code_changes():
    # the trial of a cluster is made anew each time it is asked for
    for file in set((ROOT / "workflow" / "rules").glob("*.smk")) - {ROOT / "workflow" / "rules" / "preflight.smk"}:
        rules = file.read_text().split("\nrule ")[1:] + file.read_text().split("\ncheckpoint ")[1:]
        for rule in rules:
            missing = [
                word
                for word in ("log:", "benchmark:", "threads:", "resources:", "message:", "code=code_of(", "settings=")
                if word not in rule.split("\nrule ")[0]
            ]
            assert not missing, f"{file.name}, {rule.splitlines()[0]} {missing}"


def test_snakefile_stays_small():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 80


def test_the_slurm_profile_is_found_from_the_root():
    assert (ROOT / "slurm" / "config.yaml").samefile(ROOT / "workflow" / "profiles" / "slurm" / "config.yaml")
    assert str((ROOT / "slurm").readlink()) == "workflow/profiles/slurm"


def test_a_dry_run_for_a_cluster_tells_what_each_job_asks_for(tmp_path):
    planned = snakemake(
        *("evaluate", "-n", "--profile", ROOT / "slurm", "--configfile", ROOT / "config" / "demo.yaml"),
        *("--directory", tmp_path),
    )
    assert planned.returncode == 0, planned.stderr
    told = dict(re.findall(r"^ *Job \d+: (.+)\n *Asks for: (.+)$", planned.stdout, re.MULTILINE))
    assert len(told) == len(re.findall(r"^ *Job \d+: ", planned.stdout, re.MULTILINE)) > 10
    assert all(re.fullmatch(r"(1|no) GPU, \d cores?, \d+ MB, \d+ min", asked) for asked in told.values()), told
    networks = {what.split()[0] for what, asked in told.items() if asked.startswith("1 GPU, 4 cores")}
    assert networks == {"Training", "Evaluating"}
    group = re.search(r"Group job stores .*\n *Asks for: (.+)$", planned.stdout, re.MULTILINE)
    assert group[1].startswith("no GPU, 4 cores")


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_every_entry_of_a_profile_is_commented(name):
    lines = (ROOT / "workflow" / "profiles" / name / "config.yaml").read_text().splitlines()
    uncommented = [line for line in lines if line.strip() and "#" not in line]
    # an entry may carry its comment on the line above, and one that only opens a block may carry none
    assert all(lines[lines.index(line) - 1].startswith("#") or line.endswith(":") for line in uncommented), uncommented
