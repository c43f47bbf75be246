"""The model card of a network that was evaluated: results, controls, calibration and reporting checklists.

Apart from `covidpipe.training.card`, so that editing this retrains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from covidpipe.metrics.nearness import COMPARED
from covidpipe.training.card import model_card
from covidpipe.training.checklist import Item, items

INTERVALS = "## Prediction intervals"


def full_card(
    record: dict[str, Any],
    evaluation: dict[str, Any],
    summary: Sequence[dict[str, Any]],
    reliability: Sequence[dict[str, Any]],
) -> str:
    """The card with what the network did on patients it had not seen: results, controls, calibration, and checklists.

    Parameters
    ----------
    record, evaluation : dict
        The content of ``run.json`` of the training and of the evaluation.
    summary, reliability : sequence of dict
        Rows of METRICS_SUMMARY and RELIABILITY.

    Returns
    -------
    str
        Markdown.
    """
    sections = [model_card(record), _results(summary), _controls(summary)]
    if reliability:
        sections.append(_calibration(record["recipe"].get("temperature", 1.0), summary, reliability))
    sections.append(_checklist(items(record, evaluation, summary)))
    return "\n".join(sections)


def intervals_section(methods: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The section of a card that tells how often prediction intervals held the truth.

    Parameters
    ----------
    methods : sequence of (str, dict)
        Methods that the network takes part in, with what `covidpipe conformal` wrote of each.

    Returns
    -------
    str
        Markdown, from `INTERVALS` to the end of the section.
    """
    rows = (
        (
            method,
            f"{100 * row['level']:g} %",
            f"the other {row['left_out']}s",
            row["dataset"] or "all",
            f"{100 * row['coverage']:.1f} %",
            f"{100 * row['images_covered']:.1f} % ({100 * row['low']:.0f} to {100 * row['high']:.0f})",
            f"{row['median_width']:.1f}",
            f"{100 * row['unbounded']:.0f} %",
            str(row["images"]),
            str(row["patients"]),
        )
        for method, told in methods
        for row in told["coverage"]
    )
    head = (
        "method",
        "level",
        "made from",
        "judged",
        "of patients",
        "of images",
        "width",
        "0 to 100",
        "images",
        "patients",
    )
    return f"""{INTERVALS}

Of infection_percent, by the methods that this network is part of: how often they held the radiologists' percentage, \
on patients new to all networks and to what the intervals were made from. Of patients: each counts once. Of images: \
with the 95 % interval of that share. Width: the median, in points of infection_percent. 0 to 100: share of images \
whose interval tells nothing, for want of patients.

{_table(head, rows)}
"""


def with_intervals(card: str, section: str) -> str:
    """A card with the section on intervals, in the place of an earlier one or at its end.

    >>> with_intervals("# A\\n\\n## Prediction intervals\\n\\nold\\n\\n## B\\n", "## Prediction intervals\\n\\nnew\\n")
    '# A\\n\\n## Prediction intervals\\n\\nnew\\n\\n## B\\n'
    """
    before, found, rest = card.partition(f"{INTERVALS}\n")
    if not found:
        return f"{card.rstrip()}\n\n{section}"
    _, mark, after = rest.partition("\n## ")
    return f"{before}{section}{mark}{after}"


def _results(summary: Sequence[dict[str, Any]]) -> str:
    model = [row for row in summary if row["role"] == "model"]
    verdicts = [row for row in model if row["measure"] in COMPARED and row["remark"]]
    told = "\n".join(f"- {row['measure']} {_number(row['value'])}: {row['remark']}" for row in verdicts)
    return f"""## Results on the test part

Intervals are 95 %. Their units are patients, not images: Wilson's for shares of images (k/n), DeLong's for the ROC AUC,
else patients drawn again, or left out in turn where there are fewer than five.

{told}

{_table(("measure", "value", "interval", "how", "k/n", "patients"), map(_result, model))}
"""


def _controls(summary: Sequence[dict[str, Any]]) -> str:
    controls = [row for row in summary if row["role"] == "control" and row["measure"] in COMPARED]
    rows = (
        (row["subject"], row["measure"], _number(row["value"]), _interval(row), row["remark"] or "") for row in controls
    )
    return f"""## Controls

Answers that look at no lung, or at nearly nothing. What they can tell was not learned from disease.

{_table(("control", "measure", "value", "interval", "remark"), rows)}
"""


def _calibration(temperature: float, summary: Sequence[dict[str, Any]], reliability: Sequence[dict[str, Any]]) -> str:
    scores = {row["measure"]: row for row in summary if row["role"] == "model"}
    if temperature == 1:
        head = "No temperature was fitted: these are the network's own probabilities."
    else:
        head = f"The log-odds are divided by {temperature:.3g}, a temperature fitted on validation patients."
    told = [
        f"- {words}: {_number(scores[name]['value'])} ({_interval(scores[name])}), before the temperature "
        f"{_number(scores[f'{name}_before_temperature']['value'])}"
        for name, words in (("brier", "Brier score"), ("expected_calibration_error", "expected calibration error"))
        if name in scores and f"{name}_before_temperature" in scores
    ]
    rows = (
        (
            f"{row['lowest']:.2f} to {row['highest']:.2f}",
            _number(row["mean_probability"]),
            _number(row["share"]),
            _interval(row),
            f"{row['k']}/{row['n']}",
            str(row["patients"]),
        )
        for row in reliability
        if row["temperature"] == temperature
    )
    return f"""## Calibration

{head} Bins of equal mass.

{chr(10).join(told)}

{_table(("said", "mean said", "was so", "interval", "k/n", "patients"), rows)}
"""


def _checklist(listed: Sequence[Item]) -> str:
    rows = ((item.claim, item.tripod, item.asks, item.answer) for item in listed)
    return f"""## Reporting checklists

Items of CLAIM (Mongan, Moy & Kahn 2020) and TRIPOD (Collins et al. 2015), answered by the records of the run.

{_table(("CLAIM", "TRIPOD", "item", "here"), rows)}
"""


def _result(row: dict[str, Any]) -> tuple[str, ...]:
    trials = f"{row['n']}" if row["k"] is None else f"{row['k']}/{row['n']}"
    how = row["interval"] or row["remark"] or ""
    return row["measure"], _number(row["value"]), _interval(row), how, trials, str(row["patients"])


def _interval(row: dict[str, Any]) -> str:
    return "-" if row["low"] is None else f"{_number(row['low'])} to {_number(row['high'])}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
