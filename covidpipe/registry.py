"""Every name a config can use, as plain data: nothing heavy is imported here.

The CLI, the config check, the docs, the workflow's wildcard constraints and the tests all read these tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Task = Literal["classify", "segment_lungs", "segment_infection"]
Modality = Literal["ct", "xr"]
Preprocessing = Literal["caffe", "tf", "torch"]

TASKS: tuple[str, ...] = ("classify", "segment_lungs", "segment_infection")
# What a dataset must tell of its images for each task.
TRUTH_OF_TASK = {"classify": "label", "segment_lungs": "lung_mask", "segment_infection": "infection_mask"}
MODALITIES: tuple[Modality, ...] = ("ct", "xr")
PROTOCOLS: tuple[str, ...] = ("grouped", "published")
# Parts of a split, from the one on which a network flatters itself most.
PARTS: tuple[str, ...] = ("train", "validation", "test")
# No weight was fitted to these; of an image that has no part it is not known whether it is of the network's data.
UNSEEN: tuple[str, ...] = ("validation", "test")


@dataclass(frozen=True)
class ModelSpec:
    """One architecture: where it is written, what it does, and what its source says of it.

    ``trainable`` is the number of trainable parameters at ``image_shape`` and ``classes`` with the default options,
    as the source states it or as its stated structure gives it; the tests assert it. ``classes`` is the source's own
    head: 1 is a sigmoid, 2 a softmax. ``smallest`` is the least rows and columns. ``scalable`` networks have the
    option ``width``; those of ``keras.applications`` come in one width. ``backbone`` names the ImageNet weights of
    `BACKBONES` that the regime ``fine_tuned`` starts from; None where none are published.
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
    backbone: str | None = None


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
            backbone="vgg16",
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
            backbone="vgg19",
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
            backbone="resnet50",
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
            backbone="inception_v3",
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
            backbone="densenet201",
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
            backbone="xception",
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
            backbone="vgg16",
        ),
        ModelSpec(
            "vgg19_segnet",
            "covidpipe.models.vgg_segnet",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            40_068_678,
            "Badrinarayanan et al. 2017, as in Khan et al. 2020, section 3.2.2",
            smallest=32,
            backbone="vgg19",
        ),
        ModelSpec(
            "fcn8",
            "covidpipe.models.fcn8",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            134_271_436,
            "Long et al. 2015, as in Khan et al. 2020, section 3.2.2",
            backbone="vgg16",
        ),
        ModelSpec(
            "deeplabv3_resnet18",
            "covidpipe.models.deeplabv3",
            ("segment_infection", "segment_lungs"),
            (304, 304, 3),
            16_605_394,
            "Chen et al. 2018, as in Khan et al. 2020, section 3.2.2: DeepLabV3_1",
            backbone="resnet18",
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
            backbone="resnet50",
        ),
        ModelSpec(
            "compact_unet",
            "covidpipe.models.compact_unet",
            ("segment_infection", "segment_lungs"),
            (192, 192, 1),
            1_943_778,
            "ours, after Ronneberger et al. 2015: a small default for laptops",
        ),
        ModelSpec(
            "resnet18",
            "covidpipe.models.resnet18",
            ("classify",),
            (82, 82, 1),
            11_171_266,
            "He et al. 2016 (ResNet-18), as in Khan et al. 2020, section 3.1.3",
            backbone="resnet18",
        ),
        ModelSpec(
            "googlenet",
            "covidpipe.models.googlenet",
            ("classify",),
            (82, 82, 1),
            5_595_682,
            "Szegedy et al. 2015 (GoogLeNet, with batch normalization), as in Khan et al. 2020, section 3.1.3",
            backbone="googlenet",
        ),
        ModelSpec(
            "shufflenet",
            "covidpipe.models.shufflenet",
            ("classify",),
            (82, 82, 1),
            1_255_222,
            "Ma et al. 2018 (ShuffleNet v2 1.0x), for Khan et al. 2020, section 3.1.3",
            backbone="shufflenet",
        ),
    )
}


@dataclass(frozen=True)
class Backbone:
    """Published ImageNet weights: where they are, and what the network that they belong to takes.

    ``application`` names the network in ``keras.applications`` (weights without top); None: it is ours of the same
    name, whose layers are torchvision's. ``preprocessing`` is what the image went through when they were trained:
    ``caffe`` (BGR, 0 to 255, mean subtracted), ``torch`` (RGB, mean and standard deviation) or ``tf`` (-1 to 1).
    ``unused`` are the beginnings of keys that the file holds and nothing here needs. File, URL and checksum are
    defaults of the config's ``pretrained.files``.
    """

    preprocessing: Preprocessing
    file: str
    url: str
    checksum: str
    application: str | None = None
    unused: tuple[str, ...] = ()


def _keras(application: str, preprocessing: Preprocessing, folder: str, stem: str, md5: str) -> Backbone:
    file = f"{stem}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    url = f"https://storage.googleapis.com/tensorflow/keras-applications/{folder}/{file}"
    return Backbone(preprocessing, file, url, f"md5:{md5}", application)


# The checksums of Keras' files are those in the sources of keras.applications; the SHA-256 of timm's copy of
# torchvision's ResNet-18 and of ShuffleNet are the published ones. Of GoogLeNet's only the digits in its name are
# known: a run records the whole.
BACKBONES: dict[str, Backbone] = {
    "vgg16": _keras("VGG16", "caffe", "vgg16", "vgg16", "6d6bbae143d832006294945121d1f1fc"),
    "vgg19": _keras("VGG19", "caffe", "vgg19", "vgg19", "253f8cb515780f3b799900260a226db6"),
    "resnet50": _keras("ResNet50", "caffe", "resnet", "resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
    "inception_v3": _keras("InceptionV3", "tf", "inception_v3", "inception_v3", "bcbd6486424b2319ff4ef7d526e38f63"),
    "densenet201": _keras("DenseNet201", "torch", "densenet", "densenet201", "c13680b51ded0fb44dff2d8f86ac8bb1"),
    "xception": _keras("Xception", "tf", "xception", "xception", "b0042744bf5b25fce3cb969f33bebb97"),
    "resnet18": Backbone(
        "torch",
        "resnet18.tv_in1k.safetensors",
        "https://huggingface.co/timm/resnet18.tv_in1k/resolve/a987fd6b60f845221bfff84b6f0191273ba56ead/model.safetensors",
        "sha256:694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81",
        unused=("fc.",),
    ),
    "googlenet": Backbone(
        "tf",  # torchvision turns its usual mean and standard deviation back into -1 to 1 (``transform_input``)
        "googlenet-1378be20.pth",
        "https://download.pytorch.org/models/googlenet-1378be20.pth",
        "sha256:1378be20",
        unused=("fc.", "aux1.", "aux2."),
    ),
    "shufflenet": Backbone(
        "torch",
        "shufflenetv2_x1-5666bf0f80.pth",
        "https://download.pytorch.org/models/shufflenetv2_x1-5666bf0f80.pth",
        "sha256:5666bf0f80d1e7f8fb61f6a65742b9c27c37f3208c1f087cdcd7c1ec1aa8b848",
        unused=("fc.",),
    ),
}


@dataclass(frozen=True)
class Regime:
    """How a network is fed and started: a row of the papers' tables, not a branch in the code.

    ``input`` is ``harmonized``, ``wavelet`` (the enhanced store) or ``lung_view`` (the lungs, cut out); ``weights`` is
    what training starts from; ``pixel_weights`` is ``median_frequency`` for Khan et al.'s static attention, which
    weighs each class by 0.5 / its share of the training pixels. ``reading`` is the wavelet reading of a regime that
    differs from another in nothing else; None: the recipe says.
    """

    input: Literal["harmonized", "wavelet", "lung_view"]
    weights: Literal["random", "imagenet"] = "random"
    pixel_weights: Literal["uniform", "median_frequency"] = "uniform"
    reading: str | None = None


# Khan et al. Table 3: D (wavelet-enhanced), O (original), fine-tuned. Which image the fine-tuned rows saw is not
# printed there; section 3.1 enhances the images before all three setups, and section 3.1.3.2 gives the fine-tuned
# networks samples of 82 x 82 x 1, a size that only the enhanced image has.
CLASSIFIER_REGIMES: dict[str, Regime] = {
    "scratch_wavelet": Regime(input="wavelet"),
    "scratch_original": Regime(input="harmonized"),
    "fine_tuned": Regime(input="wavelet", weights="imagenet"),
    # The wavelet reading of the text (scratch_wavelet, by default) beside that of the released code and a control
    # without a wavelet, to see whether it contributes anything.
    "scratch_authors_code": Regime(input="wavelet", reading="authors_code"),
    "scratch_gain2_clip": Regime(input="wavelet", reading="gain2_clip"),
}
# Khan et al. Tables 5 and 6 and section 3.2.2, whose images are 304 x 304 x 3: never enhanced.
SEGMENTER_REGIMES: dict[str, Regime] = {
    "scratch": Regime(input="harmonized"),
    "scratch_attention": Regime(input="harmonized", pixel_weights="median_frequency"),
    "fine_tuned": Regime(input="harmonized", weights="imagenet"),
}
# Ours: the lungs alone, their grey levels told from that of air (covidpipe/lung_view.py). A network that
# finds the lungs has to come first.
LUNG_VIEW: dict[str, Regime] = {"lung_view": Regime(input="lung_view")}
# By task and name: the same name may mean another image in another task.
REGIMES: dict[str, dict[str, Regime]] = {
    "classify": {**CLASSIFIER_REGIMES, **LUNG_VIEW},
    "segment_lungs": SEGMENTER_REGIMES,
    "segment_infection": {**SEGMENTER_REGIMES, **LUNG_VIEW},
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


# How training images are changed; the numbers are in covidpipe/training/augmentation.py.
AUGMENTATIONS: dict[str, str] = {
    "none": "the image as it is",
    "geometric": "shift, rotation, zoom, shear",
    "intensity": "contrast, brightness, gamma, CLAHE, blur, noise, coarser grey levels, JPEG",
    "standard": "both",
    "strong": "both, in wider ranges, and tone curves",
    "lungs": "for lung views: shapes, CLAHE, noise and the like; the grey levels are then put back to their places",
    "lesions": "as lungs, and lesions carried from one patient's lungs to another's; for segment_infection",
}


@dataclass(frozen=True)
class MethodSpec:
    """A composition that turns an image into a percentage, and the networks it asks, by modality.

    The percentage depends on those of ``roles``. Those of ``optional`` are asked too where a config gives them; what
    they say stands in columns of its own and decides about nothing.
    """

    name: str
    roles: dict[str, tuple[str, ...]]
    reference: str
    optional: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def asks(self, modality: str) -> tuple[str, ...]:
        """Tasks of all networks that it asks of images of a modality."""
        return (*self.roles.get(modality, ()), *self.optional.get(modality, ()))


METHODS: dict[str, MethodSpec] = {
    "khan2020": MethodSpec(
        "khan2020",
        {"ct": ("classify", "segment_lungs", "segment_infection")},
        "Khan et al. 2020: one network screens, one segments infection (theirs: CoV-CTNet, CoV-RASeg), one the lungs",
    ),
    "alom2020": MethodSpec(
        "alom2020",
        {"ct": ("segment_lungs",), "xr": ("segment_lungs",)},
        "Alom et al. 2020: one network segments the lungs (theirs: NABLA-3), refined; a threshold inside them",
        optional={"xr": ("classify",)},
    ),
    "fusion": MethodSpec(
        "fusion",
        {"ct": ("segment_lungs", "segment_infection")},
        "Ours: the mean of what the infection network of khan2020 and the threshold of alom2020 say of each pixel",
    ),
}


def deciding_tasks(modality: str) -> tuple[str, ...]:
    """Tasks of the networks that percentages of a modality depend on; a config can do without the others.

    >>> deciding_tasks("ct"), deciding_tasks("xr")
    (('classify', 'segment_lungs', 'segment_infection'), ('segment_lungs',))
    """
    return tuple(task for task in TASKS if any(task in spec.roles.get(modality, ()) for spec in METHODS.values()))


# What a classifier is asked of images of a modality, as ``positive`` of its dataset tells it.
SCREENED_FOR: dict[str, str] = {"ct": "COVID-19", "xr": "pneumonia"}

# Classes of a patient's infection percentage, each at the place of its score; where they come from and end is told in
# covidpipe/quantify/severity.py.
SEVERITY: tuple[str, ...] = ("0", "<5", "5-25", "26-49", "50-75", ">75")

# Small trained defaults in covidpipe/weights/{name}/: task and modality of each.
SHIPPED: dict[str, tuple[str, str]] = {
    "ct_screening": ("classify", "ct"),
    "ct_lungs": ("segment_lungs", "ct"),
    "ct_infection": ("segment_infection", "ct"),
    "xr_lungs": ("segment_lungs", "xr"),
    "xr_screening": ("classify", "xr"),
}


@dataclass(frozen=True)
class DatasetSpec:
    """Labelled images with a parser of their own in ``covidpipe/datasets/``.

    ``folder`` is looked for below the data folder (config ``data``, or ``COVIDPIPE_DATA``). ``truth`` says what is
    known of its images: ``label``, ``lung_mask``, ``infection_mask``; ``positive`` is what a True label stands for.
    ``limits`` is what the card of every network says that learned from it: a full sentence.
    """

    name: str
    module: str
    folder: str
    modality: Modality
    licence: str
    text: str
    truth: tuple[str, ...]
    positive: str = "COVID-19"
    limits: str = ""


DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            "medseg829",
            "covidpipe.datasets.medseg829",
            "medseg829",
            "ct",
            "not stated with the copy; Radiopaedia cases are CC BY-NC-SA",
            "829 axial CT slices of 9 volumes, lung and infection masks (MedSeg COVID-19 dataset 2, "
            "doi:10.6084/m9.figshare.13521509); volumes 2 and 3 are one scan, so 8 patients",
            ("label", "lung_mask", "infection_mask"),
        ),
        DatasetSpec(
            "khan2020",
            "covidpipe.datasets.khan2020",
            "khan2020",
            "ct",
            "not stated; the same slices as medseg829",
            "829 axial CT slices as Khan et al. released them: figures with a white margin, which their 370 infection "
            "masks count as infected; the slices of medseg829",
            ("label", "infection_mask"),
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
            "kermany",
            "covidpipe.datasets.kermany",
            "kermany",
            "xr",
            "CC BY 4.0",
            "5,856 frontal X-rays of children, 4,273 of them with pneumonia (Kermany et al., "
            "doi:10.17632/rscbjbr9sj.2), at 128 x 128",
            ("label",),
            positive="pneumonia",
            limits="Learned from films of children of 1 to 5 years in one hospital: it tells pneumonia of any cause, "
            "not COVID-19, and its probabilities are not calibrated for adults or other hospitals.",
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
