"""The study report: curves with intervals, cards, the graph of the rules, and the page, from networks drawn here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from test_report import HOSTILE, Page

from covidpipe import paths
from covidpipe.config import load, parse
from covidpipe.errors import UsageError
from covidpipe.io.files import write_json, write_table, write_text
from covidpipe.metrics import calibration, curves, nearness, summary
from covidpipe.metrics.intervals import Interval, PatientBootstrap
from covidpipe.report import cards, dag, page, svg
from covidpipe.report.curves import bland_altman, curve
from covidpipe.report.study import RULES
from covidpipe.schemas import HISTORY, METRICS_IMAGES, METRICS_SUMMARY, RELIABILITY, SPLIT
from covidpipe.stages import study
from covidpipe.study.plan import plan

ROOT = Path(__file__).parents[2]
PATIENTS, IMAGES = 12, 60
RECIPE = {"dataset": "phantom-ct", "image_size": 64, "width": 0.25}


def answers(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels and patients; two thirds of the patients have images of both classes."""
    rng = np.random.default_rng(seed)
    truth = rng.random(IMAGES) < 0.4
    probability = np.clip(rng.normal(0.35 + 0.3 * truth, 0.2), 0, 1).round(2)  # some are equal
    return probability, truth, np.array([f"p{i % PATIENTS:02d}" for i in range(IMAGES)])


def test_the_roc_curve_is_that_of_scikit_learn_and_its_band_holds_it():
    probability, truth, groups = answers()
    false, true = curves.roc(probability, truth)
    wanted_false, wanted_true, _ = roc_curve(truth, probability, drop_intermediate=False)
    np.testing.assert_allclose((false, true), (wanted_false, wanted_true))
    band = curves.roc_band(probability, truth, PatientBootstrap(groups))
    assert [place.x for place in band] == pytest.approx(np.linspace(0, 1, 21))
    for place in band:
        at = true[false <= place.x + 1e-9].max()
        assert place.low <= at <= place.high
    assert band[-1] == curves.Place(1.0, 1.0, 1.0)
    widths = [place.high - place.low for place in band]
    assert max(widths[2:8]) > 0.1 > widths[-2]


def test_the_precision_at_a_recall_is_that_of_the_strictest_threshold_that_reaches_it():
    probability, truth = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0], bool)
    once = SimpleNamespace(of_weights=lambda score, within: Interval(float(score(np.ones((1, 4)))[0]), 1, "once"))
    found = {round(place.x, 2): place.low for place in curves.precision_recall_band(probability, truth, once)}
    assert found[0.0] == found[0.5] == 1.0 and found[0.55] == found[1.0] == pytest.approx(2 / 3)


def test_where_one_patient_holds_a_class_the_band_is_missing():
    probability, truth, _ = answers()
    groups = np.where(truth, "ill", np.array([f"p{i}" for i in range(IMAGES)]))
    assert all(place.low is None for place in curves.roc_band(probability, truth, PatientBootstrap(groups)))
    drawn = curve(*curves.roc(probability, truth), [curves.Place(0.1, None, None)] * 3, (0, 1), ("x", "y"), "ROC")
    assert "polygon" not in drawn and 'class="curve' in drawn


def test_a_limit_beyond_the_plot_has_no_crossbar_there():
    pairs = np.array([[1.0, 2.0], [3.0, 1.0], [5.0, 5.0]])
    rows = [("bias", {"value": 0.3, "low": -500.0, "high": 1.0}), ("upper limit", {"value": None, "low": None})]
    drawn = bland_altman(pairs, rows, "Differences")
    (whisker,) = re.findall(r'class="whisker" d="([^"]+)"', drawn)
    assert whisker.count("h6") == 1  # the end that can be seen
    assert drawn.count("<circle") == 3 and "upper limit" not in drawn and "bias 0.3" in drawn
    numbers = [float(number) for number in re.findall(r"[VM][\d.]+ ?([\d.]*)", whisker) if number]
    assert all(0 <= number <= svg.WIDTH for number in numbers)


def test_a_card_brings_no_markup_and_reads_well():
    text = (
        "# net\n\n| | |\n|---|---|\n| seed | `1` |\n\n## Data\n\n| part | images |\n|---|---|\n| train | 9 |\n\n"
        + HOSTILE
    )
    found = Page(cards.card_html(text, "one"))
    assert not found.all("script") and not found.all("img")
    assert HOSTILE in "".join(found.text).replace("\n", "")
    assert [name for name, _ in found.tags if name[0] == "h" and name[1:].isdigit()] == ["h4", "h5"]
    assert [a.get("scope") for a in found.all("th")] == ["row", "col", "col", "row"]  # the empty head is gone
    assert len(found.all("caption")) == 2
    assert [a["aria-label"] for a in found.all("div")] == ["one: net", "one: Data"]


def test_no_line_of_the_graph_passes_a_box():
    edges = {("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("a", "e"), ("e", "d"), ("b", "d")}
    assert dag.layers("abcde", edges) == [["a"], ["b", "e"], ["c"], ["d"]]
    drawn = dag.graph({name: (name, "a long word that does not fit") for name in "abcde"}, edges, "Graph")
    boxes = [tuple(map(float, found)) for found in re.findall(r'class="node" x="([\d.]+)" y="([\d.]+)"', drawn)]
    assert len(boxes) == 5 and drawn.count('class="edge"') == len(edges) and "…" in drawn
    for x, top, bottom in re.findall(r"C[\d. ]+ ([\d.]+) ([\d.]+)V([\d.]+)", drawn):  # through a layer
        for left, y in boxes:
            if float(top) == pytest.approx(y):
                assert not left <= float(x) <= left + dag.BOX, (x, left, bottom)


@pytest.mark.parametrize("name", ["demo", "real_ct", "paper"])
def test_the_plan_of_a_study_holds_its_networks_and_cohorts(name):
    config = load(ROOT / "config" / f"{name}.yaml")
    found = plan(config)
    assert found.subjects["train_model"] == found.subjects["evaluate_model"] == sorted(config.training)
    assert set(found.subjects.get("report", [])) == set(config.cohorts)
    assert set(found.subjects) <= set(RULES)
    assert ("train_model", "evaluate_model") in found.reduced() and ("evaluate_model", "study") in found.reduced()
    assert ("ingest", "train_model") not in found.reduced() and "ingest" in found.needs["train_model"]


def write_network(config, name: str, *, tested: bool = True, seed: int = 0) -> None:
    """The files of a trained network, as the stages write them, with scores of drawn answers."""
    recipe = config.training[name]
    probability, truth, groups = answers(seed)
    folder, ids = paths.model(config, recipe), [f"i{i:02d}" for i in range(IMAGES)]
    counts = {part: {"images": IMAGES, "patients": PATIENTS} for part in ("train", "validation", "test")}
    run = {
        "best_epoch": 1, "code": "c0de", "command": "covidpipe train", "counts": counts, "covidpipe": "0.1.0",
        "data_sha256": "da7a" * 16, "device": "2 CPU cores", "packages": {"keras": "3.15.1", "numpy": "2.4"},
        "parameters": 1234, "seed": 1, "validation_measure": "ROC AUC", "validation_score": 0.8, "wall_seconds": 90.0,
        "weights_sha256": "ab" * 32,
    }  # fmt: skip
    write_json(folder / "run.json", run)
    history = [
        {"epoch": epoch, "part": part, "measure": measure, "value": value / (epoch + 1)}
        for part, measure, value in (("train", "loss", 2.0), ("validation", "loss", 2.5), ("validation", "score", 0.7))
        for epoch in range(3)
    ]
    write_table(folder / "history.parquet", history, HISTORY)
    write_text(folder / "card.md", f"# {name}\n\nTrained. {HOSTILE}\n")
    folds = [{"image_id": i, "group": g, "fold": 0, "protocol": "grouped"} for i, g in zip(ids, groups, strict=True)]
    write_table(paths.split(config, recipe.dataset, recipe.protocol), folds, SPLIT)
    if not tested:
        return
    folder, part = paths.metrics(config, recipe), summary.Part(groups, 0)
    reliability: list[dict] = []
    if recipe.task == "classify":
        own = summary.label_rows(part, probability, probability > 0.5, truth)
        control = summary.label_rows(part, np.full(IMAGES, 0.5), np.zeros(IMAGES, bool), truth)
        columns = {"covid_probability": probability, "label": truth}
        reliability = [
            {**row, "subject": name, "temperature": 1.0} for row in calibration.reliability(probability, truth, groups)
        ]
    else:
        pairs = np.column_stack([30 * probability, 30 * truth]).astype(float)
        own = [part.row("pooled_dice", 0.8, None), *summary.percent_rows(part, pairs, truth)]
        control = [part.row("pooled_dice", 0.1, None)]
        columns = {"infection_percent": pairs[:, 0], "true_infection_percent": pairs[:, 1]}
    rows = summary.named(own, name, "model") + summary.named(control, "majority_class", "control")
    measured = [
        {"image_id": i, "patient_id": None, "measure": measure, "value": float(value)}
        for measure, values in columns.items()
        for i, value in zip(ids, values, strict=True)
    ]
    write_table(folder / "summary.parquet", nearness.with_remarks(rows), METRICS_SUMMARY)
    write_table(folder / "images.parquet", measured, METRICS_IMAGES)
    write_table(folder / "reliability.parquet", reliability, RELIABILITY)
    write_json(folder / "run.json", {"images": IMAGES})
    write_text(folder / "card.md", f"# {name}\n\n| a | b |\n|---|---|\n| c | d |\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Doe_John")
    recipes = {
        "sharp": {"task": "classify", "model": "cov_ctnet", "regime": "scratch_wavelet"},
        "blunt": {"task": "classify", "model": "resnet18", "regime": "scratch_original"},
        "lesions": {"task": "segment_infection", "model": "cov_raseg", "regime": "scratch_attention"},
        "untested": {"task": "segment_lungs", "model": "nabla3", "regime": "scratch"},
        "never": {"task": "segment_lungs", "model": "unet", "regime": "scratch"},
    }
    config = parse(
        {
            "study": "small",
            "results": str(folder / "results"),
            "datasets": {"phantom-ct": str(folder / "Roe_Jane")},
            "training": {name: RECIPE | recipe for name, recipe in recipes.items()},
        },
        "test",
    )
    for seed, name in enumerate(("sharp", "blunt", "lesions")):
        write_network(config, name, seed=seed)
    write_network(config, "untested", tested=False)
    return config


@pytest.fixture(scope="module")
def document(made) -> str:
    written = study.run(made)
    assert written == Path(made.results) / "studies" / "small" / "report.html"
    return written.read_text(encoding="utf-8")


def test_every_network_stands_there_with_its_curves(document):
    articles = dict(re.findall(r'<article class="panel" id="network-(\w+)".*?>(.*?)</article>', document, re.DOTALL))
    assert list(articles) == ["sharp", "blunt", "lesions", "untested"]
    assert "Not trained yet" in document and "<code>never</code>" in document
    for name in ("sharp", "blunt"):
        assert "Area under the ROC curve" in articles[name] and articles[name].count("<polygon") == 2
        assert "Reliability diagram" in articles[name] and "infection_percent" not in articles[name]
    assert "upper limit" in articles["lesions"] and "limits of agreement" in articles["lesions"]
    assert "has not been tested" in articles["untested"] and "loss by epoch" in articles["untested"].lower()
    assert all(f"Model card of {name}" in body for name, body in articles.items())
    assert "majority class" in articles["sharp"] and "kept: epoch 2" in articles["sharp"]


def test_the_scores_are_those_of_the_answers(document):
    probability, truth, _ = answers(0)
    for value in (roc_auc_score(truth, probability), average_precision_score(truth, probability)):
        assert page.number(value) in document
    order = [document.index(f'<a href="#network-{name}">') for name in ("sharp", "blunt")]
    better = roc_auc_score(*answers(0)[1::-1]) > roc_auc_score(*answers(1)[1::-1])
    assert (order[0] < order[1]) == better


def test_the_page_asks_the_network_for_nothing_and_names_no_path(made, document):
    found = Page(document)
    for _, attrs in found.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), attrs
        assert not any(name.startswith("on") for name in attrs)
    assert not found.all("script") and "url(" not in document and "http" not in document.replace("http-equiv", "")
    policy = next(a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    (style,) = re.findall(r"<style>(.*?)</style>", document, re.DOTALL)
    assert f"style-src 'sha256-{page.sha256(style)}'" in policy and "script-src" not in policy
    assert "Doe_John" not in document and "Roe_Jane" not in document


def test_the_page_can_be_read_by_a_screen_reader(document):
    found = Page(document)
    assert found.all("html") == [{"lang": "en"}]
    assert len(found.all("main")) == len(found.all("h1")) == 1 and found.all("nav") and found.all("footer")
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in found.all("svg"))
    assert all(a.get("scope") for a in found.all("th"))
    assert len(found.all("caption")) == len(found.all("table"))
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids)) and {a["href"][1:] for a in found.all("a")} <= set(ids)


def test_the_same_study_gives_the_same_bytes(made, document, tmp_path):
    assert study.run(made, tmp_path / "again.html").read_text(encoding="utf-8") == document


def test_without_a_network_the_remedy_is_told(made, tmp_path):
    empty = made.model_copy(update={"results": str(tmp_path)})
    with pytest.raises(UsageError, match=r"no trained network.*`training` names sharp.*evaluate"):
        study.run(empty)


def test_a_studys_config_on_the_page_is_that_of_its_networks(document):
    (shown,) = re.findall(r'<pre tabindex="0">(.*?)</pre>', document, re.DOTALL)
    assert (
        "training:" in shown and "sharp:" in shown and "results:" not in shown and json.dumps("datasets") not in shown
    )
