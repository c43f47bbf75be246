"""The page that sets a random split beside a grouped one says what was measured, and for whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidpipe import paths
from covidpipe.config import Config, load
from covidpipe.errors import BadConfig
from covidpipe.io.files import write_json, write_table
from covidpipe.schemas import METRICS_SUMMARY
from covidpipe.stages import leakage

ROOT = Path(__file__).parents[2]


def study(folder: Path, **training) -> Config:
    recipe = {"task": "classify", "dataset": "kermany", "model": "cov_ctnet", "regime": "scratch_original"}
    recipe |= {"image_size": 96, "schedule": "s", "width": 0.25}
    return Config.model_validate(
        {
            "results": str(folder),
            "schedules": {"s": {"epochs": 1, "batch_size": 1, "learning_rate": 1.0}},
            "training": {name: recipe | changes for name, changes in training.items()},
        }
    )


def score(config: Config, name: str, known: int, **values: tuple[float | None, float | None, float | None]) -> None:
    """What evaluate and apart leave behind of a recipe."""
    common = {"n": 50, "k": None, "patients": 20, "interval": "bootstrap"}
    rows = [
        {"subject": "net@1", "role": "model", "measure": measure, "value": value, "low": low, "high": high} | common
        for measure, (value, low, high) in values.items()
    ]
    control = {"subject": "majority_class", "role": "control", "measure": "accuracy", "value": 0.111, "n": 50}
    folder = paths.metrics(config, config.training[name])
    write_table(folder / "summary.parquet", [*rows, control], METRICS_SUMMARY)
    checked = [{"judged_images": 50, "judged_images_of_known_groups": known}]
    write_json(paths.apart(config, "training", name), {"checked": checked})


def test_the_page_tells_both_splits_side_by_side(tmp_path):
    config = study(tmp_path, random={"protocol": "published"}, grouped={}, alone={"fold": 1})
    score(config, "random", 40, accuracy=(0.96, 0.9, 0.99), roc_auc=(0.99, None, None), mcc=(0.5, 0.4, 0.6))
    score(config, "grouped", 0, accuracy=(0.81, 0.7, 0.9), roc_auc=(None, None, None))
    leakage.run(config, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| known | 80 % of 50 | 0 % of 50 | |" in text
    assert "| accuracy | 0.960 (0.900 to 0.990) | 0.810 (0.700 to 0.900) | +0.150 |" in text
    assert "| roc_auc | 0.990 | undefined | - |" in text
    assert "mcc" not in text and "0.111" not in text  # told for one split only; no network
    assert text.count("## kermany") == 1  # the recipe without a partner is left out


def test_a_study_without_pairs_is_told(tmp_path):
    config = study(tmp_path, one={"protocol": "published"}, other={"fold": 1})
    with pytest.raises(BadConfig, match="differ only in `protocol`"):
        leakage.run(config, tmp_path / "page.md")


def test_the_study_of_the_docs_compares_both_datasets():
    config = load(ROOT / "config" / "leakage.yaml")
    compared = [config.training[names["grouped"]] for names in leakage.pairs(config)]
    assert len(compared) * 2 == len(config.training)
    assert {recipe.dataset for recipe in compared} == {"medseg829", "kermany"}
    # augmentation would hide part of what is remembered
    assert {config.schedules[recipe.schedule].augment for recipe in compared} == {"none"}
