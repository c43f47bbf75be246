"""The one config: every key, its default and its meaning; unknown keys are refused by name.

`config/config.yaml` is generated from these classes (``covidpipe config``), so a default stands in one place only.
"""

from __future__ import annotations

import inspect
import os
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from covidpipe.errors import BadConfig, did_you_mean
from covidpipe.registry import (
    AUGMENTATIONS,
    BACKBONES,
    DATASETS,
    METHODS,
    MODALITIES,
    MODELS,
    READINGS,
    REGIMES,
    SCREENED_FOR,
    SHIPPED,
    TASKS,
    TRUTH_OF_TASK,
    Modality,
)
from covidpipe.sealed import seal, unseal

LARGEST_CONFIG = 1_000_000  # bytes
DEEPEST = 50  # levels of a config
LONGEST_WORDS = 1_000  # of another's error message
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _unsealed(given: Any) -> Any:
    return unseal(given) if isinstance(given, str) else given


def _sealed(given: str | None) -> str | None:
    return None if given is None else seal(given)


# Where images lie may name a patient: plain in memory and in a user's own file, sealed wherever it is written.
PrivatePath = Annotated[str | None, BeforeValidator(_unsealed), PlainSerializer(_sealed)]


class Source(Section):
    """Where images come from: a folder, an archive or a list (`path`), or a declared dataset (`dataset`).

    With both, `path` is a folder laid out as the dataset is.
    """

    path: PrivatePath = Field(None, description="folder, .zip, .tar.gz, single file, or .csv/.txt list of files")
    dataset: str | None = Field(None, description="name of a declared dataset (`covidpipe datasets`)")
    modality: Literal["ct", "xr"] | None = Field(None, description="what all images are; null: header, else a guess")
    intensity: Literal["hounsfield", "windowed_8bit", "radiograph"] | None = Field(
        None, description="what pixel values mean; null: decided per file"
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        if self.path is None and self.dataset is None:
            raise ValueError("give `path`, or `dataset` (both: a folder laid out as that dataset is)")
        if self.dataset is not None and self.dataset not in DATASETS:
            raise ValueError(
                f"no dataset is called `{self.dataset}`; known: {', '.join(sorted(DATASETS))}."
                f"{did_you_mean(self.dataset, DATASETS)}"
            )
        return self


class Cohort(Source):
    """Images to be quantified, by name."""

    methods: list[str] | None = Field(None, description="methods for this cohort; null: the study's")
    out: str | None = Field(None, description="folder of its tables; null: {results}/cohorts/{name}")
    covariates: PrivatePath = Field(
        None, description="CSV that summary.parquet is cut by: column `patient` or `path`, the others are covariates"
    )


class Recipe(Section):
    """Networks to train, by name: which, on what, how."""

    task: Literal["classify", "segment_lungs", "segment_infection"]
    dataset: str = Field(description="the dataset it is trained and evaluated on")
    model: str = Field(description="architecture (`covidpipe models`)")
    regime: str = Field(description="input, first weights, pixel weighting: a row of the papers' tables")
    width: float = Field(1.0, gt=0, le=1, description="share of the paper's channels, for small machines")
    image_size: int = Field(ge=16, le=1024, description="rows and columns of the network's input")
    channels: Literal[1, 3] = Field(1, description="channels of the network's input; the grey image is repeated")
    reading: str = Field("paper_haar", description="wavelet reading, where the regime feeds the enhanced image")
    protocol: Literal["grouped", "published"] = Field("grouped", description="how images are split")
    fold: int = Field(0, ge=0, description="fold held out for the test; the next one validates")
    validation: Literal["fold", "none"] = Field(
        "fold",
        description="none: that fold is trained on too, the last epoch is kept, thresholds are 0.5; not for classify",
    )
    schedule: str = Field("short", description="a name under `schedules`")
    init_from: str | None = Field(
        None, description="the network under `training` whose weights it starts from; same model and width"
    )

    @model_validator(mode="before")
    @classmethod
    def _reading_of_the_regime(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        regime = REGIMES.get(str(given.get("task")), {}).get(str(given.get("regime")))
        if regime is None or regime.reading is None:
            return given
        if given.get("reading", regime.reading) != regime.reading:
            raise ValueError(
                f"regime `{given['regime']}` is that of the wavelet reading `{regime.reading}`, and the recipe asks "
                f"for `{given['reading']}`: leave `reading` out, or take the regime `scratch_wavelet`"
            )
        return {**given, "reading": regime.reading}

    @model_validator(mode="after")
    def _known(self) -> Recipe:
        for word, known, what in (
            (self.model, MODELS, "model"),
            (self.reading, READINGS, "wavelet reading"),
            (self.dataset, DATASETS, "dataset"),
            (self.regime, REGIMES[self.task], f"regime of {self.task}"),
        ):
            if word not in known:
                raise ValueError(
                    f"no {what} is called `{word}`; known: {', '.join(sorted(known))}.{did_you_mean(word, known)}"
                )
        if self.task not in MODELS[self.model].tasks:
            raise ValueError(f"`{self.model}` does not {self.task}; it does: {', '.join(MODELS[self.model].tasks)}")
        spec = MODELS[self.model]
        if self.image_size < spec.smallest:
            raise ValueError(f"`{self.model}` takes images of at least {spec.smallest} px, not {self.image_size}")
        if self.width != 1 and not spec.scalable:
            raise ValueError(f"`{self.model}` comes in its published width only: leave `width` out, or at 1")
        if REGIMES[self.task][self.regime].weights == "imagenet":
            if spec.backbone is None:
                fitting = [name for name, other in MODELS.items() if other.backbone and self.task in other.tasks]
                raise ValueError(
                    f"regime `{self.regime}` starts from ImageNet weights, and there are none for `{self.model}`; "
                    f"these have them: {', '.join(fitting)}"
                )
            if self.width != 1:
                raise ValueError(f"regime `{self.regime}`: ImageNet weights fit width 1 only, not {self.width}")
        if REGIMES[self.task][self.regime].input == "lung_view" and "lung_mask" not in DATASETS[self.dataset].truth:
            fitting = [name for name, spec in DATASETS.items() if "lung_mask" in spec.truth]
            raise ValueError(
                f"regime `{self.regime}` looks at the lungs alone, and `{self.dataset}` has no lung masks; these have: "
                f"{', '.join(fitting)}"
            )
        if self.validation == "none" and self.task == "classify":
            raise ValueError("`validation: none` is for masks; a classifier needs validation patients: leave it out")
        wanted = TRUTH_OF_TASK[self.task]
        if wanted not in DATASETS[self.dataset].truth:
            fitting = [name for name, spec in DATASETS.items() if wanted in spec.truth]
            raise ValueError(f"dataset `{self.dataset}` has no {wanted}; these have: {', '.join(fitting)}")
        return self


def _augmentation(given: Any) -> Any:
    return {True: "standard", False: "none"}[given] if isinstance(given, bool) else given


class Schedule(Section):
    """Training schedules, by name: how long, with which optimizer; those below need not be written in a study."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = Field(gt=0)
    momentum: float = Field(0.0, ge=0, lt=1, description="of sgd")
    decay: Literal["constant", "cosine", "step"] = Field(
        "constant", description="step: divided by 10 every `decay_every` epochs"
    )
    decay_every: int = Field(25, ge=1, description="epochs of a step")
    loss: Literal["cross_entropy", "dice", "cross_entropy_dice"] = Field(
        "cross_entropy", description="of masks; for labels it is the cross-entropy"
    )
    images_per_epoch: int | None = Field(None, ge=1, description="images drawn for an epoch; null: all of them")
    balance: Literal["none", "classes"] = Field(
        "none", description="classes: images with and without the disease are seen equally often, the rarer repeated"
    )
    augment: Annotated[str, BeforeValidator(_augmentation)] = Field(
        "standard", description=f"{', '.join(AUGMENTATIONS)}; true: standard, false: none"
    )
    flip: bool = Field(False, description="mirror half of the images: hearts on the right")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="momentum of a running mean of the weights, which is then validated and kept (0.99: the last 100 "
        "steps); 0: none",
    )
    keep: Literal["best", "last"] = Field("best", description="which epoch is kept; best: on validation")
    precision: Literal["float32", "mixed_bfloat16"] = Field(
        "float32", description="mixed_bfloat16: faster on GPUs; probabilities and weights stay float32"
    )
    gpus: int = Field(1, ge=1, description="GPUs of one machine that share each batch; TensorFlow only")
    text: str = Field("", description="where its numbers come from")

    @model_validator(mode="after")
    def _possible(self) -> Schedule:
        if self.augment not in AUGMENTATIONS:
            raise ValueError(
                f"no augmentation is called `{self.augment}`; known: {', '.join(AUGMENTATIONS)}."
                f"{did_you_mean(self.augment, AUGMENTATIONS)}"
            )
        if self.batch_size % self.gpus:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared evenly by {self.gpus} gpus: take a multiple"
            )
        return self


_FULL = {
    "khan2020": Schedule(
        epochs=30,
        batch_size=8,
        optimizer="sgd",
        learning_rate=0.001,
        momentum=0.95,
        augment="none",
        text="Khan et al. 2020, section 4.2: all classifiers and segmenters; no augmentation is told",
    ),
    "alom2020_xray": Schedule(
        epochs=75,
        batch_size=32,
        optimizer="adam",
        learning_rate=0.001,
        decay="step",
        balance="classes",
        text="Alom et al. 2020, section 4: detection in X-rays (pneumonia, COVID-19)",
    ),
    "alom2020_ct": Schedule(
        epochs=150,
        batch_size=16,
        optimizer="adam",
        learning_rate=0.001,
        decay="step",
        balance="classes",
        text="Alom et al. 2020, section 4: detection in CT, with the parameters of the X-ray detector (our reading)",
    ),
    "alom2020_lungs": Schedule(
        epochs=75,
        batch_size=8,
        optimizer="adam",
        learning_rate=0.0003,
        loss="dice",
        text="Alom et al. 2020, section 4: lung segmentation; batch as told for CT, epochs our reading",
    ),
}


def _short(name: str) -> Schedule:
    """A fifth of the epochs, and of the epochs of a step."""
    full = _FULL[name]
    changes: dict[str, Any] = {
        "epochs": full.epochs // 5,
        "text": f"{name}_full with a fifth of the epochs, for small machines",
    }
    if full.decay == "step":
        changes["decay_every"] = full.decay_every // 5
    return full.model_copy(update=changes)


# Usable by every recipe; a study's own schedule of the same name goes first.
SCHEDULES: dict[str, Schedule] = {
    "short": Schedule(
        epochs=12,
        batch_size=8,
        learning_rate=0.002,
        decay="cosine",
        loss="cross_entropy_dice",
        text="ours, for small machines",
    )
}
for _name in _FULL:
    SCHEDULES[f"{_name}_full"] = _FULL[_name]
    SCHEDULES[f"{_name}_short"] = _short(_name)


class Roles(Section):
    """Which network plays each part, by modality: a name under `training`, or `shipped:NAME` (come along)."""

    classify: str | None = Field(
        None, description="ct: tells COVID-19, for khan2020; xr: pneumonia, which decides nothing"
    )
    segment_lungs: str | None = None
    segment_infection: str | None = None


class Phantoms(Section):
    """Synthetic patients to make, by name, in {results}/phantoms/{name}: ct/ and xr/."""

    patients: int = Field(12, ge=1)
    size: int = Field(160, ge=64, le=1024, description="rows and columns of a slice")
    slices: int = Field(16, ge=1, description="slices of a patient")
    seed: int = Field(0, ge=0, description="another seed makes other patients")


def _shipped_roles() -> dict[Modality, Roles]:
    return {
        modality: Roles(**{task: f"shipped:{name}" for name, (task, of) in SHIPPED.items() if of == modality})
        for modality in MODALITIES
    }


class Harmonize(Section):
    """How images are brought to one size and scale."""

    source_size: int = Field(304, ge=64, le=1024, description="grid on which wavelets are computed (Khan et al.: 304)")
    window_hu: tuple[float, float] = Field(
        (-1350.0, 150.0), description="Hounsfield window mapped to 0-255 (the lung window of the training images)"
    )


def _threshold(given: Any) -> Any:
    return "adaptive" if given == "mean" else given  # what it was called before there were others


class Threshold(Section):
    """Alom et al.'s threshold inside the lung, of which only the idea is published; docs/threshold.md measures all."""

    local: Annotated[
        Literal["adaptive", "gaussian", "otsu", "vessel_suppressed"],
        BeforeValidator(_threshold),
    ] = Field(
        "vessel_suppressed",
        description="adaptive (the paper's: mean of the lung around), gaussian, otsu (one level), or the best measured",
    )
    window_share: float = Field(
        0.25, gt=0, le=1, description="adaptive, gaussian: side of the local window, as a share of the image's"
    )
    offset: float = Field(0.0, description="grey levels (0-255) that a pixel must exceed the local value by")
    opening_radius: int = Field(1, ge=0, description="px of the harmonized grid")
    min_object_px: int = Field(30, ge=0, description="smaller regions are dropped (px of the harmonized grid)")
    erode_lung_px: int = Field(2, ge=0, description="lung rim that is left out (px of the harmonized grid)")
    vessel_radius_px: float = Field(
        3.0, ge=0, description="vessel_suppressed: regions that no disk of this radius fits into are dropped"
    )
    regrow_px: int = Field(
        2, ge=0, description="vessel_suppressed: how far the others grow back into bright lung, its rim included"
    )


class Tissue(Section):
    """What infected lung is told apart into by its Hounsfield units, where the image has them; upper ends excluded."""

    ground_glass_hu: tuple[float, float] = (-750.0, -300.0)
    consolidation_hu: tuple[float, float] = (-300.0, 50.0)

    @model_validator(mode="after")
    def _apart(self) -> Tissue:
        for name, (low, high) in self:
            if low >= high:
                raise ValueError(f"`{name}` runs from {low:g} to {high:g}: the first must be the lower one")
        if max(self.ground_glass_hu[0], self.consolidation_hu[0]) < min(
            self.ground_glass_hu[1], self.consolidation_hu[1]
        ):
            raise ValueError(
                "ground_glass_hu and consolidation_hu overlap: a pixel would count twice; let one end below the other"
            )
        return self


class Summary(Section):
    """How a cohort is described in summary.parquet."""

    min_cell: int = Field(
        5, ge=1, description="cells of fewer patients are suppressed, and what they follow from; 1: none"
    )


class WeightsFile(Section):
    """Files of ImageNet weights, by network; what is given here replaces what is published."""

    file: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\.(h5|safetensors|pth)$",
        description="its name in the folder: .h5 of keras.applications (no top), .safetensors or .pth of torchvision",
    )
    url: str = Field(pattern=r"^https://", description="where it is downloaded from")
    checksum: str | None = Field(
        None,
        pattern=r"^(sha256:[0-9a-f]{8,64}|md5:[0-9a-f]{32})$",
        description="sha256:... (or its beginning, where no more is published) or md5:...; null: any content",
    )


def _published_weights() -> dict[str, WeightsFile]:
    return {name: WeightsFile(file=b.file, url=b.url, checksum=b.checksum) for name, b in BACKBONES.items()}


class Intervals(Section):
    """How far infection_percent may be from the radiologists': infection_percent_low and _high; docs/intervals.md."""

    level: float = Field(
        0.8,
        gt=0,
        lt=1,
        description="share of new patients, of one image each, that they hold the truth of; the weights that come "
        "along were measured on 14 patients, and 0.9 makes intervals three times as wide",
    )
    sources: list[str] = Field(
        [],
        description="cohorts with true masks, new to the networks, whose errors count beside those of the networks' "
        "own held-out patients",
    )


class Pretrained(Section):
    """ImageNet weights, for the regime `fine_tuned`."""

    weights_dir: str | None = Field(None, description="folder of the files; null: covidpipe/weights in the user cache")
    download: bool = Field(True, description="fetch a file that is not there; false: say which file to put where")
    files: dict[str, WeightsFile] = Field(
        default_factory=_published_weights, description="file, origin and checksum of each network's weights"
    )

    @model_validator(mode="before")
    @classmethod
    def _over_the_published(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("files"), dict):
            return given
        files: dict[str, Any] = {name: entry.model_dump() for name, entry in _published_weights().items()}
        for name, entry in given["files"].items():
            if name not in files:
                raise ValueError(
                    f"`files`: no ImageNet weights are used for `{name}`; known: {', '.join(files)}."
                    f"{did_you_mean(str(name), files)}"
                )
            files[name] = files[name] | entry if isinstance(entry, dict) else entry
        return {**given, "files": files}


class Paper(Section):
    """`snakemake paper`: the papers' tables and figures, published beside recomputed."""

    label: Literal["full", "short", "phantoms"] = Field(
        "full", description="printed on every table and figure: how far they are from the papers' schedules and images"
    )
    published: str = Field("config/published", description="folder of the numbers that the papers print")


class Limits(Section):
    """What is refused before it is read."""

    max_pixels: int = Field(100_000_000, ge=1, description="pixels of one frame")
    max_frames: int = Field(5_000, ge=1, description="frames of one file")
    max_unpacked_gib: float = Field(100.0, gt=0, description="size of an archive's content")
    max_unpacked_files: int = Field(5_000_000, ge=1, description="files of an archive")
    max_file_gib: float = Field(16.0, gt=0, description="size of one file")
    max_memory_gib: float = Field(8.0, gt=0, description="memory that reading one file may take")
    max_seconds: float = Field(300.0, gt=0, description="time that reading one file may take")


class Config(Section):
    """A study: what to train, what to quantify, and with what."""

    study: str = Field("study", pattern=NAME_PATTERN, description="its name: studies may share a results folder")
    seed: int = Field(20201122, ge=0, description="of every random choice")
    results: str = Field("results", description="folder of everything that is made")
    data: str = Field("../shared/data", description="folder of the declared datasets; COVIDPIPE_DATA overrides it")
    datasets: dict[str, str] = Field(
        default_factory=dict, description="folders of declared datasets that lie elsewhere, by name"
    )
    phantoms: dict[str, Phantoms] = Field(default_factory=dict, description="synthetic patients to make, by name")
    cohorts: dict[str, Cohort] = Field(default_factory=dict, description="images to be quantified, by name")
    methods: list[str] = Field(
        ["khan2020", "alom2020"],
        description="how images are quantified: the papers' methods, and `fusion`, ours, which takes the mean of both",
    )
    segment: Literal["all", "positives"] = Field(
        "all", description="khan2020: segment all images, or only those screened positive, as published"
    )
    engine: Literal["auto", "keras", "openvino", "openvino_bf16"] = Field(
        "auto",
        description="what computes cohorts; keras: the reference; openvino: float32 on CPUs, compared with it; "
        "openvino_bf16: infection in bfloat16 on CPUs that have it, refused where the cohort's masks differ; auto: "
        "openvino if it is installed and there is no GPU, else keras; never bfloat16: tables would depend on the CPU",
    )
    training: dict[str, Recipe] = Field(default_factory=dict, description="networks to train, by name")
    models: dict[Modality, Roles] = Field(
        default_factory=_shipped_roles,
        description="the network for each part, by modality",
    )
    schedules: dict[str, Schedule] = Field(
        default_factory=lambda: dict(SCHEDULES), description="training schedules, by name"
    )
    harmonize: Harmonize = Field(default_factory=Harmonize)
    threshold: Threshold = Field(default_factory=Threshold)
    tissue: Tissue = Field(default_factory=Tissue)
    summary: Summary = Field(default_factory=Summary)
    intervals: Intervals = Field(default_factory=Intervals)
    pretrained: Pretrained = Field(default_factory=Pretrained)
    paper: Paper = Field(default_factory=Paper)
    limits: Limits = Field(default_factory=Limits)
    folds: int = Field(5, ge=2, description="folds of every split")
    shard_images: int = Field(
        512,
        ge=1,
        description="images of one shard, and so of one cluster job; fewer if they have more than 2048 x 2048 pixels",
    )
    file_rows: int = Field(
        5_000_000,
        ge=1,
        description="rows of infection.parquet; a larger table is the folder infection/, partitioned by cohort and "
        "modality, with files of at most as many rows",
    )
    report_cases: int = Field(12, ge=0, description="overlays shown in the report")
    tensorboard: bool = Field(False, description="write TensorBoard event files beside every network that is trained")

    @field_validator("schedules")
    @classmethod
    def _with_those_that_come_along(cls, given: dict[str, Schedule]) -> dict[str, Schedule]:
        return {**SCHEDULES, **given}

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        import re

        for kind, names in (("cohort", self.cohorts), ("training", self.training), ("phantoms", self.phantoms)):
            for name in names:
                if not re.fullmatch(NAME_PATTERN, name):  # `$` alone lets a line's end pass, and so into a shell
                    raise ValueError(f"{kind} `{name}`: a name has letters, digits, `_`, `.` and `-` only")
        for name in self.datasets:
            if name not in DATASETS:
                raise ValueError(
                    f"datasets: no dataset is called `{name}`; known: {', '.join(sorted(DATASETS))}."
                    f"{did_you_mean(name, DATASETS)}"
                )
        cohort_methods = (m for c in self.cohorts.values() for m in c.methods or ())
        for method in (*self.methods, *cohort_methods):
            if method not in METHODS:
                raise ValueError(
                    f"no method is called `{method}`; known: {', '.join(METHODS)}.{did_you_mean(method, METHODS)}"
                )
        for name, recipe in self.training.items():
            if recipe.schedule not in self.schedules:
                raise ValueError(
                    f"training `{name}` wants schedule `{recipe.schedule}`; under `schedules` there are: "
                    f"{', '.join(sorted(self.schedules)) or 'none'}.{did_you_mean(recipe.schedule, self.schedules)}"
                )
            augment, regime = self.schedules[recipe.schedule].augment, REGIMES[recipe.task][recipe.regime]
            if augment in ("lungs", "lesions") and regime.input != "lung_view":
                raise ValueError(
                    f"training `{name}`: `augment: {augment}` is for lung views, and regime `{recipe.regime}` shows "
                    "the whole image; take `strong`"
                )
            if augment == "lesions" and recipe.task != "segment_infection":
                raise ValueError(
                    f"training `{name}`: `augment: lesions` carries infected lung from image to image, which is for "
                    f"segment_infection, not for {recipe.task}; take `lungs`"
                )
            if recipe.fold >= self.folds:
                raise ValueError(f"training `{name}`: wanted a fold from 0 to {self.folds - 1}, found {recipe.fold}")
            self._check_start(name)
        for name in self.intervals.sources:
            dataset = self.cohorts[name].dataset if name in self.cohorts else None
            if dataset is None or not {"lung_mask", "infection_mask"} <= set(DATASETS[dataset].truth):
                raise ValueError(
                    f"intervals.sources: wanted a name under `cohorts` with a `dataset` that has lung and infection "
                    f"masks, found `{name}`.{did_you_mean(name, self.cohorts)}"
                )
        by_path: dict[tuple, str] = {}
        for name, recipe in self.training.items():
            other = by_path.setdefault(model_key(recipe), name)
            if other != name:
                raise ValueError(
                    f"training `{other}` and `{name}` would be written to the same folder: let them differ in dataset, "
                    "task, model, regime, protocol or fold"
                )
        for name, cohort in self.cohorts.items():
            if name in DATASETS and (cohort.dataset != name or cohort.path is not None):
                raise ValueError(f"cohort `{name}`: this is the name of a dataset; choose another")
        by_out: dict[str, str] = {}
        for name, cohort in self.cohorts.items():
            if cohort.out is not None and by_out.setdefault(os.path.normpath(cohort.out), name) != name:
                raise ValueError(
                    f"cohorts `{by_out[os.path.normpath(cohort.out)]}` and `{name}` would be written to the same folder"
                    ": give each an `out` of its own"
                )
        for modality in MODALITIES:
            for task in TASKS:
                wanted = getattr(self.models.get(modality, Roles()), task)
                if wanted is not None:
                    self._check_role(modality, task, wanted)
        return self

    def _check_role(self, modality: str, task: str, wanted: str) -> None:
        name = wanted.removeprefix("shipped:")
        if wanted.startswith("shipped:"):
            if SHIPPED.get(name) != (task, modality):
                fitting = [n for n, role in SHIPPED.items() if role == (task, modality)]
                raise ValueError(
                    f"models.{modality}.{task}: no shipped weights `{name}` for this; there are: "
                    f"{', '.join(fitting) or 'none'}"
                )
            return
        if name not in self.training:
            raise ValueError(
                f"models.{modality}.{task}: `{name}` is not under `training`: "
                f"{', '.join(sorted(self.training)) or 'nothing is'}.{did_you_mean(name, self.training)} Without this "
                "key the networks that come along are taken."
            )
        if self.training[name].task != task:
            raise ValueError(
                f"models.{modality}.{task}: `{name}` is trained to {self.training[name].task}; wanted one for {task}"
            )
        told, asked = DATASETS[self.training[name].dataset].positive, SCREENED_FOR[modality]
        if task == "classify" and told != asked:
            fitting = [
                n for n, d in DATASETS.items() if (d.modality, d.positive) == (modality, asked) and "label" in d.truth
            ]
            raise ValueError(
                f"models.{modality}.{task}: `{name}` is trained to tell {told}, and {asked} is screened for: name one "
                f"that is trained on {' or '.join(fitting)}, or null"
            )

    def _check_start(self, name: str) -> None:
        """Refuse a network that starts from an unknown or another one, or, through others, from itself."""
        line = [name]
        while (start := self.training[line[-1]].init_from) is not None:
            if start not in self.training:
                raise ValueError(
                    f"training `{line[-1]}`: init_from: `{start}` is not under `training`: "
                    f"{', '.join(sorted(self.training))}.{did_you_mean(start, self.training)}"
                )
            if start in line:
                raise ValueError(
                    f"training `{name}` starts from itself: {' <- '.join([*line, start])}; let one start anew"
                )
            recipe, parent = self.training[line[-1]], self.training[start]
            if (recipe.model, recipe.width) != (parent.model, parent.width):
                raise ValueError(
                    f"training `{line[-1]}` starts from `{start}` and must have its model and width: "
                    f"{parent.model}, {parent.width:g}, not {recipe.model}, {recipe.width:g}"
                )
            line.append(start)

    def data_folder(self) -> Path:
        """Folder of the declared datasets: ``COVIDPIPE_DATA`` if set, else `data`."""
        return Path(os.environ.get("COVIDPIPE_DATA") or self.data)

    def source(self, name: str) -> Source:
        """The cohort called `name`, or the declared dataset of that name."""
        if name in self.cohorts:
            return self.cohorts[name]
        if name in DATASETS:
            return Source(dataset=name, modality=DATASETS[name].modality)
        known = [*self.cohorts, *DATASETS]
        raise BadConfig(
            f"No cohort or dataset is called `{name}`. Known: {', '.join(known)}.{did_you_mean(name, known)}"
        )

    def source_root(self, name: str) -> Path:
        """Folder or file that `name` is read from; paths in its image table are relative to it."""
        source = self.source(name)
        if source.path is not None:
            return Path(source.path)
        assert source.dataset is not None
        if source.dataset in self.datasets:
            return Path(self.datasets[source.dataset])
        return self.data_folder() / DATASETS[source.dataset].folder

    def cohort_methods(self, cohort: str) -> list[str]:
        own = self.cohorts[cohort].methods
        return list(self.methods if own is None else own)


def model_key(recipe: Recipe) -> tuple[str, str, str, str, str, int]:
    """What tells trained models apart on disk: dataset, task, model, regime, protocol, fold."""
    return (recipe.dataset, recipe.task, recipe.model, recipe.regime, recipe.protocol, recipe.fold)


# Keys that hold sections by name.
NAMED: dict[str, type[BaseModel]] = {
    "cohorts": Cohort,
    "files": WeightsFile,
    "models": Roles,
    "phantoms": Phantoms,
    "schedules": Schedule,
    "training": Recipe,
}


def parse(raw: Any, where: str) -> Config:
    """Check a loaded mapping and return the config; every fault is told in one message.

    Parameters
    ----------
    raw : dict
    where : str
        The file, for the message.
    """
    if not isinstance(raw, dict):
        raise BadConfig(f"{where}: wanted a mapping of keys to values, found {type(raw).__name__}.")
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise BadConfig("\n".join(_sentence(where, item) for item in error.errors())) from None


def _sentence(where: str, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        section = _section(item["loc"][:-1])
        known = (section or Config).model_fields
        near = did_you_mean(str(item["loc"][-1]), known)
        return f"{where}: `{key}` is not a key.{near or ' `covidpipe config` prints all there are.'}"
    message = item["msg"].removeprefix("Value error, ").rstrip(".")
    given = _SHORT.repr(item["input"])[:LONGEST_WORDS]
    found = "" if item["type"] in ("value_error", "missing") else f" (found {given})"
    told = "" if item["type"] == "value_error" else " `covidpipe config` shows what it may be."
    end = "" if message.endswith("?") else "."
    return f"{where}: `{key}`: {message}{found}{end}{told}" if key else f"{where}: {message}{end}"


def _section(path: tuple) -> type[BaseModel] | None:
    """The config class that the keys at `path` belong to."""
    section: type[BaseModel] | None = Config
    for part in path:
        if part in NAMED:
            section = NAMED[part]
        elif section is Config and part in Config.model_fields:
            annotation = Config.model_fields[part].annotation
            section = annotation if inspect.isclass(annotation) and issubclass(annotation, BaseModel) else None
    return section


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, that does not follow brackets in brackets in ... for minutes."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError(f"nested deeper than {DEEPEST} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def load(path: str | Path) -> Config:
    """Read a YAML config file.

    Raises
    ------
    BadConfig
        The file is missing, is no YAML, or does not hold a config.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise BadConfig(f"{path}: larger than {LARGEST_CONFIG:,} bytes; wanted a config. Is it the right file?")
        raw = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise BadConfig(f"{path}: there is no such config file. Examples are in config/.") from None
    except OSError as error:
        raise BadConfig(f"{path}: wanted a config file: {error.strerror}. Examples are in config/.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise BadConfig(
            f"{path}: not readable as YAML: {place}{str(error.problem)[:LONGEST_WORDS]}. `covidpipe config` prints a "
            "config that is."
        ) from None
    # ValueError: dates and numbers that are none; RecursionError: brackets in brackets in ...
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadConfig(
            f"{path}: not readable as YAML: {' '.join(str(error).split())[:LONGEST_WORDS]}. Is it a config?"
        ) from None
    return parse(raw or {}, str(path))


def dump(config: Config) -> str:
    """The whole config as YAML, defaults included: what a run used, to run it again."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def commented() -> str:
    """The defaults as YAML, every key with its meaning: what `covidpipe config` prints and config/config.yaml holds."""
    lines = ["# Every key, its default and its meaning; written by `covidpipe config`. Unknown keys are refused."]
    defaults = Config().model_dump(mode="json")
    for key, info in Config.model_fields.items():
        section = info.annotation
        if inspect.isclass(section) and issubclass(section, BaseModel):
            lines += ["", f"# {_first_line(section)}", f"{key}:"]
            for name, field in section.model_fields.items():
                lines += _lines("  ", name, field, defaults[key][name])
        elif key in NAMED:
            lines += ["", f"# {_first_line(NAMED[key])}"]
            lines += _schedules() if key == "schedules" else _block(key, defaults[key])
            lines += [f"#  {'ct, or xr' if key == 'models' else 'any name'}:"]
            lines += [_line("#    ", name, field, field.default) for name, field in NAMED[key].model_fields.items()]
        else:
            lines += ["", _line("", key, info, defaults[key])]
    return "\n".join(lines) + "\n"


def _first_line(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]


def _block(key: str, value: Any) -> list[str]:
    return yaml.safe_dump({key: value}, sort_keys=False).splitlines()


def _schedules() -> list[str]:
    """Those that come along, one line each with what differs from a schedule's defaults."""
    lines = ["schedules:"]
    for name, schedule in SCHEDULES.items():
        shown = yaml.safe_dump(
            schedule.model_dump(mode="json", exclude_defaults=True),
            default_flow_style=True,
            sort_keys=False,
            width=1000,
        )
        lines.append(f"  {name}: {shown.strip()}")
    return lines


def _lines(indent: str, key: str, field: FieldInfo, value: Any) -> list[str]:
    """One line; for a key that holds sections by name, what their keys mean and then all of them."""
    if key not in NAMED:
        return [_line(indent, key, field, value)]
    inner = f"{indent}#    "
    meaning = [_line(inner, name, item, item.default) for name, item in NAMED[key].model_fields.items()]
    block = [indent + line for line in _block(key, value)]
    return [f"{block[0]}  # {field.description}", f"{indent}#  any of these:", *meaning, *block[1:]]


def _line(indent: str, key: str, field: FieldInfo, value: Any) -> str:
    words = [field.description] if field.description else []
    if field.is_required():
        shown, words = "", ["required", *words]
    else:
        shown = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"{indent}{key}: {shown}".rstrip() + (f"  # {'; '.join(words)}" if words else "")
