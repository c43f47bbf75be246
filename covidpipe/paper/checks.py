"""The papers' numbers against themselves: each arithmetic finding is computed from the printed cells, none is told.

A finding `holds` if some number that is rounded to the printed one satisfies it, else it `fails`. Printed numbers are
taken as intervals of half a unit of their last digit, so that no rounding is called an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from statistics import median

import pywt

from covidpipe.metrics.intervals import wilson
from covidpipe.paper.published import Cell, Published

EPS = 1e-9
# Of the 829 lung masks of medseg829 none covers more than 24.7 % of its frame.
MOST_LUNG = 0.25
INFECTED, HEALTHY = 74, 92  # a fifth of the 370 and 459 images of Khan et al.: 166 images of the test
# Tables of the segmenters, and the class-wise columns whose mean another column prints.
SEGMENTERS = ("Table 5", "Table 6")
CLASSIFIERS = ("Table 2", "Table 3")
MEAN_OF = {"mean_accuracy": "accuracy", "mean_iou": "iou", "mean_boundary_f": "boundary_f"}
# How far a printed weighted IoU may be from that of the rows' common pixel share before it is called a misprint.
MISPRINT = 0.1


@dataclass(frozen=True)
class Finding:
    """One check of one row.

    ``printed`` is what stands in the paper and ``computed`` what follows from other cells, both in the unit of the
    cell; ``sentence`` says it with all numbers.
    """

    paper: str
    check: str
    source: str
    row: str
    regime: str
    subject: str
    verdict: str
    printed: float | None
    computed: float | None
    sentence: str


def _finding(
    check: str, cell: Cell, holds: bool, sentence: str, computed: float | None = None, printed: float | None = None
) -> Finding:
    return Finding(
        paper=cell.paper,
        check=check,
        source=cell.source,
        row=cell.row,
        regime=cell.regime,
        subject=cell.subject,
        verdict="holds" if holds else "fails",
        printed=cell.value if printed is None else printed,
        computed=computed,
        sentence=sentence,
    )


def nearest_shares(printed: float, n: int) -> tuple[float, float]:
    """The two percentages k / n next to a printed one: below or at it, and above.

    >>> [round(share, 2) for share in nearest_shares(98.78, 45)]
    [97.78, 100.0]
    """
    k = math.floor(printed * n / 100 + EPS)
    return 100 * k / n, 100 * min(k + 1, n) / n


def is_share(printed: float, rounding: float, n: int) -> bool:
    """True if some k / n rounds, or is cut off, to the printed percentage.

    >>> is_share(98.80, 0.005, 166), is_share(98.78, 0.005, 45)
    (True, False)
    """
    low, high = nearest_shares(printed, n)
    cut_off = min(low, high, key=lambda share: abs(share - printed)) - printed
    return abs(low - printed) <= rounding + EPS or -rounding - EPS <= cut_off < 2 * rounding - EPS


def possible_shares(published: Published) -> Iterator[Finding]:
    """An accuracy on n images is k / n for a whole k."""
    for cell in published.where(measure="accuracy", subject=""):
        if cell.n is None:
            continue
        low, high = nearest_shares(cell.value, cell.n)
        holds = is_share(cell.value, cell.rounding, cell.n)
        k = cell.value * cell.n / 100
        yield _finding(
            "possible_share",
            cell,
            holds,
            f"{cell.printed} % of {cell.n} images would be {k:.2f} images; next to it are {low:.2f} and {high:.2f} %.",
            low if abs(low - cell.value) <= abs(high - cell.value) else high,
        )


def _balanced(infected: int, healthy: int) -> list[float]:
    return sorted({50 * (a / infected + b / healthy) for a, b in product(range(infected + 1), range(healthy + 1))})


def _attainable(printed: float, rounding: float, values: Sequence[float]) -> bool:
    return any(abs(value - printed) <= rounding + EPS for value in values)


def balanced_accuracies(published: Published) -> Iterator[Finding]:
    """An accuracy that is no k / n may be a balanced one, (TP / 74 + TN / 92) / 2: how many are, how many by chance."""
    values = _balanced(INFECTED, HEALTHY)
    cells = [cell for cell in published.where(measure="accuracy", source=CLASSIFIERS) if cell.n == INFECTED + HEALTHY]
    for cell in cells:
        whole = is_share(cell.value, cell.rounding, INFECTED + HEALTHY)
        nearest = min(values, key=lambda value: abs(value - cell.value))
        yield _finding(
            "balanced_accuracy",
            cell,
            whole or _attainable(cell.value, cell.rounding, values),
            f"{cell.printed} %: the nearest balanced accuracy of {INFECTED} infected and {HEALTHY} healthy images is "
            f"{nearest:.3f} %.",
            nearest,
        )
    if cells:
        low, high = (round(100 * end(cell.value for cell in cells)) for end in (min, max))
        within = [value for value in values if low - 0.5 <= 100 * value <= high + 0.5]
        chance = sum(_attainable(k / 100, 0.005, within) for k in range(low, high + 1)) / (high - low + 1)
        found = sum(_attainable(cell.value, cell.rounding, values) for cell in cells)
        shares = sum(is_share(cell.value, cell.rounding, INFECTED + HEALTHY) for cell in cells)
        yield _finding(
            "accuracies_together",
            cells[0],
            shares == len(cells),
            f"Of {len(cells)} printed accuracies {shares} are k / {INFECTED + HEALTHY} and {found} are balanced "
            f"accuracies; of all two-digit percentages between {low / 100:.2f} and {high / 100:.2f}, "
            f"{100 * chance:.1f} % are.",
            found / len(cells),
            shares / len(cells),
        )


def _sum(published: Published, total: dict, parts: Sequence[dict]) -> Iterator[Finding]:
    whole, summands = published.one(**total), [published.one(**part) for part in parts]
    if whole is None or None in summands:
        return
    numbers = [cell.value for cell in summands if cell is not None]
    words = " + ".join(f"{number:,.0f}" for number in numbers)
    yield _finding(
        "parts_make_the_whole",
        whole,
        sum(numbers) == whole.value,
        f"{words} = {sum(numbers):,.0f}, and {whole.value:,.0f} {whole.measure.replace('_', ' ')} are told.",
        sum(numbers),
    )


def counts(published: Published) -> Iterator[Finding]:
    """Classes and parts add up to the set that they are parts of."""
    for row, total, parts in (
        ("COVID-19 in CT", "images", ("images_normal", "images_covid")),
        ("COVID-19 in CT", "images", ("images_train", "images_test")),
        ("pneumonia in X-rays", "images_train", ("images_train_normal", "images_train_pneumonia")),
        ("pneumonia in X-rays", "images_test", ("images_test_normal", "images_test_pneumonia")),
        ("classification set", "images", ("images_infected", "images_healthy")),
        ("classification set", "images", ("images_train", "images_validation", "images_test")),
        ("segmentation set", "images", ("images_train", "images_validation", "images_test")),
    ):
        yield from _sum(published, {"row": row, "measure": total}, [{"row": row, "measure": part} for part in parts])


def same_everywhere(published: Published) -> Iterator[Finding]:
    """What is told in two places is the same in both."""
    keys = [
        {"row": "COVID-19 in CT", "measure": "images"},
        {"row": "COVID-Net", "measure": "accuracy"},
        {"row": "classification set", "measure": "images"},
        {"row": "classification set", "measure": "images_infected"},
        {"row": "rival classifiers", "measure": "networks_said"},
        {"network": "cov_ctnet", "regime": "scratch_wavelet", "measure": "accuracy"},
        {"network": "resnet18", "regime": "scratch_wavelet", "measure": "accuracy"},
    ]
    for key in keys:
        for first, other in pairwise(published.where(**key)):
            holds = (
                abs(first.value - other.value) <= first.rounding + other.rounding - EPS or first.value == other.value
            )
            yield _finding(
                "same_everywhere",
                other,
                holds,
                f"{first.printed} in {first.source}, {other.printed} in {other.source}.",
                first.value,
            )
    told = published.one(source="section 6", measure="boundary_f", network="cov_raseg")
    tables = list(published.where(source="Table 5", row="CoV-RASeg", measure=("boundary_f", "mean_boundary_f")))
    if told is not None and tables:
        by_subject = {cell.subject: cell.value for cell in tables}
        holds = all(abs(value / 100 - told.value) <= told.rounding for value in by_subject.values())
        yield _finding(
            "same_everywhere",
            told,
            holds,
            f"The conclusion has a boundary F of {told.printed}; Table 5 has "
            + ", ".join(f"{value:.2f} % ({subject})" for subject, value in by_subject.items())
            + ".",
            by_subject.get("all"),
        )


def networks_counted(published: Published) -> Iterator[Finding]:
    """As many rivals as the text says; a network that is said to be compared has a row."""
    for row, tables, own in (
        ("rival classifiers", ("Table 3",), "cov_ctnet"),
        ("rival segmenters", SEGMENTERS, "cov_raseg"),
    ):
        rivals = {cell.network for cell in published.where(source=tables)} - {own}
        for said in published.where(row=row, measure="networks_said"):
            yield _finding(
                "networks_counted",
                said,
                said.value == len(rivals),
                f"{said.printed} networks are said to be compared, and {len(rivals)} have rows"
                + (f"; U-Net, which is one of them, has {sum(r == 'unet' for r in rivals)}." if "seg" in row else "."),
                len(rivals),
            )


def gain(published: Published) -> Iterator[Finding]:
    """A claimed gain is the difference of the two numbers that it is the gain between."""
    claim = published.one(measure="claimed_gain")
    own = published.one(row="pneumonia in X-rays", measure="accuracy")
    other = published.one(row="COVID-Net", source="section 6", measure="accuracy")
    if claim is None or own is None or other is None:
        return
    points, relative = own.value - other.value, 100 * (own.value / other.value - 1)
    holds = any(abs(claim.value - x) <= claim.rounding + own.rounding + other.rounding for x in (points, relative))
    elsewhere = published.one(row="COVID-Net", source="section 2", measure="accuracy")
    words = (
        f"{own.printed} - {other.printed} = {points:.2f} points ({relative:.2f} % relative); {claim.printed} is claimed"
    )
    if elsewhere is not None:
        words += f"; {own.printed} - {elsewhere.printed} = {own.value - elsewhere.value:.2f}"
    yield _finding("gain", claim, holds, words + ".", points)


def attention_gain(published: Published) -> Iterator[Finding]:
    """The gain of static attention, by infected IoU, lies in the range that the text claims."""
    low, high = published.one(measure="claimed_gain_low"), published.one(measure="claimed_gain_high")
    if low is None or high is None:
        return
    for cell in published.where(source="Table 5", subject="infected", measure="iou", regime="scratch_attention"):
        plain = published.one(
            source="Table 5", subject="infected", measure="iou", regime="scratch", network=cell.network
        )
        if plain is not None:
            points = cell.value - plain.value
            slack = cell.rounding + plain.rounding
            yield _finding(
                "attention_gain",
                cell,
                low.value - slack - EPS <= points <= high.value + slack + EPS,
                f"{cell.printed} - {plain.printed} = {points:+.2f} points of infected IoU; {low.printed} to "
                f"{high.printed} are claimed.",
                points,
            )


def dice_of_iou(iou: float) -> float:
    """The Dice that an IoU implies, 2 IoU / (1 + IoU), both as shares.

    >>> round(dice_of_iou(0.9873), 4)
    0.9936
    """
    return 2 * iou / (1 + iou)


def overlaps(published: Published) -> Iterator[Finding]:
    """Dice = 2 IoU / (1 + IoU) of the same pixels, so it is never below the IoU; and F1 of a mask is its Dice."""
    for cell in published.where(measure="dice"):
        same = {"source": cell.source, "row": cell.row, "regime": cell.regime, "subject": cell.subject}
        iou = published.one(measure="iou", **same)
        if iou is not None:
            implied = dice_of_iou(iou.share)
            slack = cell.share_rounding + 2 * iou.share_rounding
            yield _finding(
                "dice_of_iou",
                cell,
                abs(implied - cell.share) <= slack,
                f"IoU {iou.printed} implies a Dice of {implied:.4f}; {cell.printed} is printed.",
                implied,
            )
            yield _finding(
                "dice_not_below_iou",
                cell,
                cell.share + cell.share_rounding >= iou.share - iou.share_rounding - EPS,
                f"Dice {cell.printed}, IoU {iou.share:.4f}: {cell.share - iou.share:+.4f}; a Dice is at least its IoU.",
                iou.share,
            )
        f_score = published.one(measure="f_score", **same)
        if f_score is not None:
            yield _finding(
                "f_score_is_dice",
                f_score,
                abs(f_score.share - cell.share) <= f_score.share_rounding + cell.share_rounding,
                f"The F1 of a mask is its Dice; F1 {f_score.printed} and Dice {cell.printed} are printed.",
                cell.share,
            )


def dice_together(published: Published) -> Iterator[Finding]:
    """How many of the rows have a Dice clearly (0.005) below the IoU, and of how many networks."""
    rows = []
    for cell in published.where(measure="dice", source=SEGMENTERS):
        iou = published.one(measure="iou", source=cell.source, row=cell.row, regime=cell.regime, subject=cell.subject)
        if iou is not None:
            rows.append((cell, iou.share - cell.share >= 0.005 - EPS))
    if rows:
        below = [cell for cell, is_below in rows if is_below]
        networks, all_networks = (
            {(c.source, c.row, c.regime) for c in cells} for cells in (below, [r[0] for r in rows])
        )
        yield _finding(
            "dice_together",
            rows[0][0],
            not below,
            f"{len(below)} of {len(rows)} rows, of {len(networks)} of {len(all_networks)} networks, have a Dice at "
            "least 0.005 below their IoU.",
            0.0,
            len(below) / len(rows),
        )


def formulas_as_printed(published: Published) -> Iterator[Finding]:
    """Equations 16 and 17 as printed, with c of T pixels right: 2c / (2c + T) and c / (c + T), at most 2/3 and 1/2."""
    for measure, cap, formula in (("dice", 2 / 3, "2c / (2c + T)"), ("iou", 1 / 2, "c / (c + T)")):
        for cell in published.where(measure=measure, source=SEGMENTERS):
            yield _finding(
                "formula_as_printed",
                cell,
                cell.share - cell.share_rounding <= cap + EPS,
                f"{measure} as printed, {formula}, is at most {cap:.3f}; {cell.printed} stands in the table.",
                cap,
            )


def errors_of_dice(published: Published) -> Iterator[Finding]:
    """A `mean error at 95 % CI` that always makes 1 with its Dice is 1 - Dice, no interval."""
    for cell in published.where(measure="dice_error"):
        dice = published.one(measure="dice", source=cell.source, row=cell.row, regime=cell.regime, subject=cell.subject)
        if dice is not None:
            total = dice.value + cell.value
            yield _finding(
                "error_is_no_complement",
                cell,
                abs(total - 1) > EPS,
                f"Dice {dice.printed} + error {cell.printed} = {total:.3f}: the error is 1 - Dice, not an interval.",
                1 - dice.value,
            )


def infected_share(infected: float, background: float, weighted: float) -> float | None:
    """The share f of infected pixels in weighted IoU = f IoU_infected + (1 - f) IoU_background; None if both are equal.

    >>> round(infected_share(98.73, 99.20, 99.02), 3)
    0.383
    """
    return None if infected == background else (weighted - background) / (infected - background)


def pixel_shares(published: Published) -> Iterator[Finding]:
    """The share of infected pixels that the printed IoUs imply; lesions cannot cover more of a frame than lungs do."""
    found = []
    for cell in published.where(measure="weighted_iou", source=SEGMENTERS):
        infected, background = _ious(published, cell)
        if infected is None or background is None:
            continue
        share = infected_share(infected.value, background.value, cell.value)
        if share is None:
            continue
        found.append(share)
        ends = [
            infected_share(infected.value + a * 0.005, background.value + b * 0.005, cell.value + c * 0.005)
            for a, b, c in product((-1, 1), repeat=3)
        ]
        inner = [end for end in ends if end is not None]
        yield _finding(
            "infected_pixel_share",
            cell,
            min(inner) <= MOST_LUNG + EPS,
            f"({cell.printed} - {background.printed}) / ({infected.printed} - {background.printed}) = {share:.3f} of "
            f"the pixels infected (rounding: {min(inner):.3f} to {max(inner):.3f}); lungs cover at most "
            f"{MOST_LUNG:.2f} of a frame.",
            share,
            None,
        )
    if found:
        middle = median(found)
        yield Finding(
            paper=published.paper,
            check="infected_pixel_share_median",
            source="Tables 5 and 6",
            row="all segmenters",
            regime="",
            subject="all",
            verdict="holds" if middle <= MOST_LUNG else "fails",
            printed=None,
            computed=middle,
            sentence=f"The median of {len(found)} rows is {middle:.4f} of the pixels infected; lungs cover at most "
            f"{MOST_LUNG:.2f} of a frame.",
        )
    weights = {cell.subject: cell for cell in published.where(measure="class_weight")}
    if set(weights) == {"infected", "background"}:
        shares = {name: 0.5 / cell.value for name, cell in weights.items()}
        yield _finding(
            "infected_pixel_share_released",
            weights["infected"],
            shares["infected"] <= MOST_LUNG,
            f"Weights are 0.5 / share: 0.5 / {weights['infected'].printed} = {shares['infected']:.4f} infected, 0.5 / "
            f"{weights['background'].printed} = {shares['background']:.4f} background, together "
            f"{sum(shares.values()):.4f}.",
            shares["infected"],
        )


def _ious(published: Published, cell: Cell) -> tuple[Cell | None, Cell | None]:
    same = {"source": cell.source, "row": cell.row, "regime": cell.regime, "measure": "iou"}
    return published.one(subject="infected", **same), published.one(subject="background", **same)


def _means(published: Published) -> Iterator[tuple[Cell, list[Cell], float]]:
    """Each printed mean, the two classes that it is of, and their mean."""
    for cell in published.where(measure=tuple(MEAN_OF), source=SEGMENTERS):
        classes = list(
            published.where(
                source=cell.source,
                row=cell.row,
                regime=cell.regime,
                measure=MEAN_OF[cell.measure],
                subject=("infected", "background"),
            )
        )
        if len(classes) == 2:
            yield cell, classes, sum(part.value for part in classes) / 2


def _is_mean(cell: Cell, classes: Sequence[Cell], middle: float) -> bool:
    return abs(middle - cell.value) <= cell.rounding + classes[0].rounding + EPS


def means(published: Published) -> Iterator[Finding]:
    """A printed mean is the mean of the two printed classes."""
    for cell, classes, middle in _means(published):
        yield _finding(
            "mean_of_classes",
            cell,
            _is_mean(cell, classes, middle),
            f"{cell.measure}: ({classes[0].printed} + {classes[1].printed}) / 2 = {middle:.3f}; "
            f"{cell.printed} is printed.",
            middle,
        )


def exchanged(published: Published) -> Iterator[Finding]:
    """Cells that are right once they are exchanged: of two rows of a network, or of two columns of a row."""
    others = list(published.where(measure=(*MEAN_OF, "weighted_iou"), source=SEGMENTERS))
    for here, classes, middle in _means(published):
        if _is_mean(here, classes, middle):
            continue
        for there in others:
            if (there.source, there.network) != (here.source, here.network) or there is here:
                continue
            of_row = there.row == here.row and (here.measure, there.measure) == ("mean_iou", "weighted_iou")
            of_column = there.row != here.row and there.measure == here.measure
            if (of_row or of_column) and abs(there.value - middle) <= 2 * here.rounding + EPS:
                yield _finding(
                    "exchanged_cells",
                    here,
                    False,
                    f"{here.measure} {here.printed} should be {middle:.3f}, which is printed as {there.measure} "
                    f"({there.printed}) of {there.row}.",
                    middle,
                )


def misprints(published: Published) -> Iterator[Finding]:
    """A weighted IoU is near the one that the common pixel share of all rows gives."""
    rows, shares = [], []
    for cell in published.where(measure="weighted_iou", source=SEGMENTERS):
        infected, background = _ious(published, cell)
        if infected is not None and background is not None:
            rows.append((cell, infected, background))
            share = infected_share(infected.value, background.value, cell.value)
            shares += [] if share is None else [share]
    if not shares:
        return
    common = median(shares)
    for cell, infected, background in rows:
        expected = common * infected.value + (1 - common) * background.value
        yield _finding(
            "weighted_iou_misprint",
            cell,
            abs(expected - cell.value) <= MISPRINT,
            f"With {common:.4f} of the pixels infected the weighted IoU is {expected:.2f}; {cell.printed} is printed.",
            expected,
        )


def confusion_rows(published: Published) -> Iterator[Finding]:
    """The rows of a normalized confusion matrix make 100 %, and their diagonal is Table 5's accuracy."""
    for cell in published.where(source="Table 4", measure="predicted_infected"):
        other = published.one(source="Table 4", measure="predicted_background", row=cell.row, subject=cell.subject)
        if other is None:
            continue
        total = cell.value + other.value
        yield _finding(
            "confusion_row",
            cell,
            abs(total - 100) <= cell.rounding + other.rounding + EPS,
            f"{cell.printed} + {other.printed} = {total:.2f} %.",
            total,
        )
        diagonal = cell if cell.subject == "infected" else other
        table = published.one(source="Table 5", row=cell.row, measure="accuracy", subject=cell.subject)
        if table is not None:
            yield _finding(
                "confusion_diagonal",
                diagonal,
                abs(diagonal.value - table.value) <= EPS,
                f"{diagonal.printed} in Table 4, {table.printed} in Table 5.",
                table.value,
            )


def classifier_rows(published: Published) -> Iterator[Finding]:
    """F, accuracy, precision and AUC follow from, or are bounded by, precision, sensitivity and specificity."""
    for precision in published.where(measure="precision", source=CLASSIFIERS):
        row = {
            cell.measure: cell
            for cell in published.where(source=precision.source, row=precision.row, regime=precision.regime)
        }
        yield _finding(
            "probability",
            precision,
            0 <= precision.value <= 1,
            f"A precision lies between 0 and 1; {precision.printed} is printed.",
        )
        p = precision.value if precision.value <= 1 else precision.value / 100
        if not {"sensitivity", "specificity", "f_score", "accuracy", "auc"} <= set(row):
            continue
        r, s, f, accuracy, auc = (row[m] for m in ("sensitivity", "specificity", "f_score", "accuracy", "auc"))
        value = 2 * p * r.value / (p + r.value)
        ends = [2 * a * b / (a + b) for a, b in product(*((x - 0.005, x + 0.005) for x in (p, r.value)))]
        yield _finding(
            "f_of_precision_and_recall",
            f,
            min(ends) - f.rounding - EPS <= f.value <= max(ends) + f.rounding + EPS,
            f"Precision {precision.printed} and recall {r.printed} make an F of {value:.4f}; {f.printed} is printed.",
            value,
        )
        balanced = 50 * (r.value + s.value)
        plain = 100 * (INFECTED * r.value + HEALTHY * s.value) / (INFECTED + HEALTHY)
        slack = 100 * (r.rounding + s.rounding) / 2 + accuracy.rounding
        yield _finding(
            "accuracy_of_rates",
            accuracy,
            min(abs(accuracy.value - x) for x in (balanced, plain)) <= slack + EPS,
            f"Sensitivity {r.printed} and specificity {s.printed} make an accuracy of {plain:.2f} % ({INFECTED} and "
            f"{HEALTHY} images; balanced {balanced:.2f} %); {accuracy.printed} is printed.",
            plain,
        )
        if precision.source == "Table 3":
            expected = INFECTED * r.value / (INFECTED * r.value + HEALTHY * (1 - s.value))
            yield _finding(
                "precision_is_no_specificity",
                precision,
                abs(p - s.value) > 0.01 + EPS,
                f"Precision {precision.printed}, specificity {s.printed}; of {INFECTED} and {HEALTHY} images the rates "
                f"make a precision of {expected:.3f}.",
                expected,
            )
        floor = (r.value - r.rounding) * (s.value - s.rounding)
        yield _finding(
            "auc_of_operating_point",
            auc,
            auc.value + auc.rounding >= floor - EPS,
            f"A ROC curve through sensitivity {r.printed} and specificity {s.printed} has at least an area of "
            f"{floor:.3f}; {auc.printed} is printed.",
            floor,
        )


def truncated(published: Published) -> Iterator[Finding]:
    """A printed percentage of counted pixels is rounded, not cut off."""
    for cell in published.where(measure="infection_percent"):
        infected, lung = (
            published.one(source=cell.source, row=cell.row, measure=measure) for measure in ("infected_px", "lung_px")
        )
        if infected is None or lung is None:
            continue
        percent = 100 * infected.value / lung.value
        yield _finding(
            "rounded_percent",
            cell,
            abs(percent - cell.value) <= cell.rounding + EPS,
            f"{infected.printed} / {lung.printed} = {percent:.3f} %; {cell.printed} is printed"
            + (", cut off." if 0 <= percent - cell.value < 2 * cell.rounding else "."),
            percent,
        )


def held_out(published: Published) -> Iterator[Finding]:
    """A test part has the share of the images that the text says."""
    for share in published.where(measure="held_out_share"):
        rows = ("classification set", "segmentation set") if share.row == "both sets" else (share.row,)
        for row in rows:
            images, test = (published.one(row=row, measure=m) for m in ("images", "images_test"))
            if images is None or test is None:
                continue
            wanted = images.value * share.value / 100
            yield _finding(
                "held_out_share",
                test,
                abs(wanted - test.value) < 1,
                f"{share.printed} % of {images.printed} images are {wanted:.1f}; {test.printed} were tested on.",
                wanted,
            )


def validation_gap(published: Published) -> Iterator[Finding]:
    """A validation accuracy lies within the 95 % interval (Wilson) of the test accuracy, if both parts are alike."""
    for validation in published.where(measure="validation_accuracy"):
        test = published.one(row=validation.row, measure="accuracy")
        if test is None or test.n is None:
            continue
        ends = wilson(test.value * test.n / 100, test.n)
        assert ends is not None
        yield _finding(
            "validation_like_test",
            validation,
            100 * ends[0] <= validation.value <= 100 * ends[1],
            f"Validation {validation.printed} %, test {test.printed} % of {test.n} ({100 * ends[0]:.1f} to "
            f"{100 * ends[1]:.1f} %): a gap of {validation.value - test.value:.2f} points.",
            test.value,
        )


def training_images(published: Published) -> Iterator[Finding]:
    """Batch normalization has counted as many images as the text says were trained on, and none of the validation."""
    counted = published.one(measure="batch_norm_samples")
    side = published.one(row="original image", measure="side")
    train, validation = (
        published.one(row="segmentation set", measure=m) for m in ("images_train", "images_validation")
    )
    if counted is None or side is None or train is None or validation is None:
        return
    images = counted.value / side.value**2
    yield _finding(
        "images_trained_on",
        counted,
        images == train.value,
        f"{counted.value:,.0f} px / {side.printed}^2 = {images:g} images = {train.printed} + {validation.printed}: "
        f"{train.printed} are said to be trained on.",
        images,
        train.value,
    )


def enhanced_side(side: int, wavelet: str, levels: int) -> int:
    """Rows of the image that the inverse of the last of `levels` decompositions of `side` rows has.

    >>> enhanced_side(304, "haar", 2), enhanced_side(304, "db4", 3)
    (152, 82)
    """
    length = pywt.Wavelet(wavelet).dec_len
    rows = [side]
    for _ in range(levels):
        rows.append(pywt.dwt_coeff_len(rows[-1], length, "symmetric"))
    return 2 * rows[-1] - length + 2


def wavelet_size(published: Published) -> Iterator[Finding]:
    """The side of the enhanced image is one that the named wavelet, Haar, gives at some level."""
    enhanced = published.one(row="enhanced image", measure="side")
    original = published.one(row="original image", measure="side")
    if enhanced is None or original is None:
        return
    sides = {
        wavelet: [enhanced_side(int(original.value), wavelet, levels) for levels in (1, 2, 3, 4)]
        for wavelet in ("haar", "db4")
    }
    yield _finding(
        "wavelet_size",
        enhanced,
        int(enhanced.value) in sides["haar"],
        f"{enhanced.printed} of {original.printed} px: with 1 to 4 levels Haar gives "
        f"{', '.join(map(str, sides['haar']))}, db4 {', '.join(map(str, sides['db4']))}.",
        min(sides["haar"], key=lambda s: abs(s - enhanced.value)),
    )


CHECKS: tuple[Callable[[Published], Iterator[Finding]], ...] = (
    possible_shares,
    balanced_accuracies,
    counts,
    same_everywhere,
    networks_counted,
    gain,
    attention_gain,
    overlaps,
    dice_together,
    formulas_as_printed,
    errors_of_dice,
    pixel_shares,
    means,
    exchanged,
    misprints,
    confusion_rows,
    classifier_rows,
    truncated,
    held_out,
    validation_gap,
    training_images,
    wavelet_size,
)


def findings(published: Published) -> list[Finding]:
    """All checks of a paper's cells, those that hold and those that fail."""
    return [finding for check in CHECKS for finding in check(published)]
