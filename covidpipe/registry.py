"""Every name a config can use, as plain data: nothing heavy is imported here.

The CLI, the config check, the docs, the workflow's wildcard constraints and the tests all read these tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["classify", "segment_lungs", "segment_infection"]
Modality = Literal["ct", "xr"]

TASKS: tuple[str, ...] = ("classify", "segment_lungs", "segment_infection")
# What a dataset must tell of its images for each task.
TRUTH_OF_TASK = {"classify": "label", "segment_lungs": "lung_mask", "segment_infection": "infection_mask"}
MODALITIES: tuple[Modality, ...] = ("ct", "xr")
PROTOCOLS: tuple[str, ...] = ("grouped", "published")
# Parts of a split, from the one on which a network flatters itself most.
PARTS: tuple[str, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class ModelSpec:
    """One architecture: where it is written, what it does, and what its source says of it.

    ``trainable`` is the number of trainable parameters at ``image_shape`` and ``classes`` with the default options,
    as the source states it or as its stated structure gives it; the tests assert it. ``classes`` is the source's own
    head: 1 is a sigmoid, 2 a softmax. ``smallest`` is the least rows and columns. ``scalable`` networks have the
    option ``width``; those of ``keras.applications`` come in one width.
    """

    name: str
    module: str
    tasks: tuple[str, ...]
    image_shape: tuple[int, int, int]
    trainable: int
    reference: str
    classes: int = 2
    smallest: int = 16
    scalable: bool = True


MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "cov_ctnet",
            "covidpipe.models.cov_ctnet",
            ("classify",),
            (82, 82, 1),
            14_463_882,
            "Khan et al. 2020, figure 3 and section 3.1.2",
        ),
        ModelSpec(
            "cov_raseg",
            "covidpipe.models.cov_raseg",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            373_126,
            "Khan et al. 2020, figure 4 and section 3.2.1; layers as in the released weights",
        ),
        ModelSpec(
            "nabla3",
            "covidpipe.models.nabla3",
            ("segment_lungs", "segment_infection"),
            (192, 192, 3),
            19_073_233,
            "Alom et al. 2020, section 3, architecture details",
            classes=1,
        ),
        ModelSpec(
            "irrcnn",
            "covidpipe.models.irrcnn",
            ("classify",),
            (128, 128, 3),
            34_275_362,
            "Alom et al. 2020, section 3, architecture details",
        ),
        ModelSpec(
            "vgg16",
            "covidpipe.models.vgg",
            ("classify",),
            (82, 82, 1),
            39_895_746,
            "Simonyan and Zisserman 2015, as in Khan et al. 2020, section 3.1.3",
            smallest=32,
            scalable=False,
        ),
        ModelSpec(
            "vgg19",
            "covidpipe.models.vgg",
            ("classify",),
            (82, 82, 1),
            45_205_442,
            "Simonyan and Zisserman 2015, as in Khan et al. 2020, section 3.1.3",
            smallest=32,
            scalable=False,
        ),
        ModelSpec(
            "resnet50",
            "covidpipe.models.resnet50",
            ("classify",),
            (82, 82, 1),
            23_532_418,
            "He et al. 2016, as in Khan et al. 2020, section 3.1.3",
            smallest=32,
            scalable=False,
        ),
        ModelSpec(
            "inception_v3",
            "covidpipe.models.inception_v3",
            ("classify",),
            (82, 82, 1),
            21_771_874,
            "Szegedy et al. 2016, as in Khan et al. 2020, section 3.1.3",
            smallest=75,
            scalable=False,
        ),
        ModelSpec(
            "densenet201",
            "covidpipe.models.densenet201",
            ("classify",),
            (82, 82, 1),
            18_090_498,
            "Huang et al. 2017, as in Khan et al. 2020, section 3.1.3",
            smallest=32,
            scalable=False,
        ),
        ModelSpec(
            "xception",
            "covidpipe.models.xception",
            ("classify",),
            (82, 82, 1),
            20_810_474,
            "Chollet 2017, as in Khan et al. 2020, section 3.1.3",
            smallest=71,
            scalable=False,
        ),
        ModelSpec(
            "segnet",
            "covidpipe.models.segnet",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            521_862,
            "Badrinarayanan et al. 2017, as in Khan et al. 2020, section 3.2.2",
        ),
        ModelSpec(
            "unet",
            "covidpipe.models.unet",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            31_031_810,
            "Ronneberger et al. 2015, as in Khan et al. 2020, section 3.2.2",
        ),
        ModelSpec(
            "u_segnet",
            "covidpipe.models.u_segnet",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            558_726,
            "Kumar et al. 2018, as in Khan et al. 2020, section 3.2.2",
        ),
        ModelSpec(
            "vgg16_segnet",
            "covidpipe.models.vgg_segnet",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            29_444_166,
            "Badrinarayanan et al. 2017, as in Khan et al. 2020, section 3.2.2",
            smallest=32,
        ),
        ModelSpec(
            "vgg19_segnet",
            "covidpipe.models.vgg_segnet",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            40_068_678,
            "Badrinarayanan et al. 2017, as in Khan et al. 2020, section 3.2.2",
            smallest=32,
        ),
        ModelSpec(
            "fcn8",
            "covidpipe.models.fcn8",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            134_271_436,
            "Long et al. 2015, as in Khan et al. 2020, section 3.2.2",
        ),
        ModelSpec(
            "deeplabv3_resnet18",
            "covidpipe.models.deeplabv3",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            16_605_394,
            "Chen et al. 2018, as in Khan et al. 2020, section 3.2.2: DeepLabV3_1",
        ),
        ModelSpec(
            "deeplabv3_resnet50",
            "covidpipe.models.deeplabv3",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            40_375_954,
            "Chen et al. 2018, as in Khan et al. 2020, section 3.2.2: DeepLabV3_2",
            smallest=32,
            scalable=False,
        ),
        ModelSpec(
            "resnet18",
            "covidpipe.models.resnet18",
            ("classify",),
            (82, 82, 1),
            11_171_266,
            "He et al. 2016 (ResNet-18), as in Khan et al. 2020, section 3.1.3",
        ),
        ModelSpec(
            "googlenet",
            "covidpipe.models.googlenet",
            ("classify",),
            (82, 82, 1),
            5_595_682,
            "Szegedy et al. 2015 (GoogLeNet, with batch normalization), as in Khan et al. 2020, section 3.1.3",
        ),
        ModelSpec(
            "shufflenet",
            "covidpipe.models.shufflenet",
            ("classify",),
            (82, 82, 1),
            1_255_222,
            "Ma et al. 2018 (ShuffleNet v2 1.0x), for Khan et al. 2020, section 3.1.3",
        ),
    )
}


@dataclass(frozen=True)
class Regime:
    """How a network is fed and started: a row of the papers' tables, not a branch in the code.

    ``input`` is ``wavelet`` (the enhanced store) or ``harmonized``; ``pixel_weights`` is ``median_frequency`` for
    Khan et al.'s static attention, which weighs each class by 0.5 / its share of the training pixels.
    """

    input: Literal["harmonized", "wavelet"]
    pixel_weights: Literal["uniform", "median_frequency"] = "uniform"


REGIMES: dict[str, Regime] = {
    "scratch": Regime(input="harmonized"),
    "scratch_attention": Regime(input="harmonized", pixel_weights="median_frequency"),
    "scratch_original": Regime(input="harmonized"),
    "scratch_wavelet": Regime(input="wavelet"),
}
REGIMES_OF_TASK: dict[str, tuple[str, ...]] = {
    "classify": ("scratch_wavelet", "scratch_original"),
    "segment_lungs": ("scratch", "scratch_attention"),
    "segment_infection": ("scratch", "scratch_attention"),
}

# What each reading does is told in covidpipe/wavelet.py.
READINGS: dict[str, str] = {
    "paper_haar": "Haar; LL of LL1 and HH of HH1 kept, the rest zeroed, inverted twice, summed: the paper's text",
    "haar_l2_diag": "Haar; {LL, HH} kept of both LL1 and HH1",
    "haar_l1": "Haar, one level; LL and HH kept",
    "authors_code": "db4 LL1 + HH1 saturated to 8 bits, half the size: what the authors' code does",
    "authors_code_82": "the authors' code one level deeper: 304 -> 82",
    "gain2_clip": "control: resize by half, times two, clipped; no wavelet at all",
    "none": "the image as it is",
}


@dataclass(frozen=True)
class MethodSpec:
    """A composition that turns an image into a percentage, and the models it needs for each modality."""

    name: str
    roles: dict[str, tuple[str, ...]]
    reference: str


METHODS: dict[str, MethodSpec] = {
    "khan2020": MethodSpec(
        "khan2020",
        {"ct": ("classify", "segment_lungs", "segment_infection")},
        "Khan et al. 2020: wavelet, CoV-CTNet screens, CoV-RASeg segments; lungs by NABLA-3",
    ),
    "alom2020": MethodSpec(
        "alom2020",
        {"ct": ("segment_lungs",), "xr": ("segment_lungs",)},
        "Alom et al. 2020: NABLA-3 lungs, morphological refinement, adaptive threshold inside the lung",
    ),
}

# Small trained defaults in covidpipe/weights/{name}/: task and modality of each.
SHIPPED: dict[str, tuple[str, str]] = {
    "ct_screening": ("classify", "ct"),
    "ct_lungs": ("segment_lungs", "ct"),
    "ct_infection": ("segment_infection", "ct"),
    "xr_lungs": ("segment_lungs", "xr"),
}


@dataclass(frozen=True)
class DatasetSpec:
    """Labelled images with a parser of their own in ``covidpipe/datasets/``.

    ``folder`` is looked for below the data folder (config ``data``, or ``COVIDPIPE_DATA``). ``truth`` says what is
    known of its images: ``label`` (COVID-19 or not), ``lung_mask``, ``infection_mask``.
    """

    name: str
    module: str
    folder: str
    modality: Modality
    licence: str
    text: str
    truth: tuple[str, ...]


DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            "medseg829",
            "covidpipe.datasets.medseg829",
            "medseg829",
            "ct",
            "not stated with the copy; Radiopaedia cases are CC BY-NC-SA",
            "829 axial CT slices of 9 patients, lung and infection masks (MedSeg COVID-19 dataset 2, "
            "doi:10.6084/m9.figshare.13521509)",
            ("label", "lung_mask", "infection_mask"),
        ),
        DatasetSpec(
            "coronacases",
            "covidpipe.datasets.coronacases",
            "coronacases",
            "ct",
            "CC BY-NC-SA",
            "234 axial CT slices of 6 patients, lung and infection masks (Ma et al., doi:10.5281/zenodo.3757476)",
            ("label", "lung_mask", "infection_mask"),
        ),
        DatasetSpec(
            "cxr-lungs",
            "covidpipe.datasets.cxr_lungs",
            "cxr-lungs",
            "xr",
            "NLM, public; Shenzhen masks CC BY-NC-SA 4.0",
            "704 frontal X-rays with lung masks (Montgomery 138, Shenzhen 566)",
            ("lung_mask",),
        ),
        DatasetSpec(
            "covid-cxr",
            "covidpipe.datasets.covid_cxr",
            "covid-cxr",
            "xr",
            "per image CC BY, CC BY-SA or CC BY-NC-SA",
            "303 frontal X-rays of 170 patients with findings (ieee8023/covid-chestxray-dataset)",
            ("label",),
        ),
        DatasetSpec(
            "phantom-ct",
            "covidpipe.datasets.phantoms",
            "phantoms/ct",
            "ct",
            "made by `covidpipe phantoms`; no real patient",
            "synthetic thorax CT series in DICOM with exactly known masks",
            ("label", "lung_mask", "infection_mask"),
        ),
        DatasetSpec(
            "phantom-xr",
            "covidpipe.datasets.phantoms",
            "phantoms/xr",
            "xr",
            "made by `covidpipe phantoms`; no real patient",
            "X-rays projected from the CT phantoms, with exactly known masks",
            ("label", "lung_mask", "infection_mask"),
        ),
    )
}
