"""Settings of the evaluators, told apart by ``kind``."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.settings.base import Augment, Optim, Strict, check_ranges


class Probe(Strict):
    """Multinomial logistic regression on frozen, standardised features (scikit-learn)."""

    data: str = Field(description="data set alias of the scale")
    labels: int | float = Field(description="training labels: a count, or a share of all")
    inverse_regularisation: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.001, 0.01, 0.1, 1.0),
        min_length=1,
        description="candidates for scikit-learn's C, chosen between on held-out training labels",
    )
    tolerance: float = Field(1e-3, gt=0)
    max_iter: int = Field(300, gt=0)


class LinearProbe(Probe):
    """Top-1 of the probe on the test split."""

    kind: Literal["linear_probe"]
    draws: int = Field(1, gt=0, description="independent draws of the labels, each with its probe")


class Robustness(Probe):
    """Top-1 of the probe, fitted on clean images, on test images corrupted at graded strength."""

    kind: Literal["robustness"]
    images: int = Field(2000, gt=0, description="test images, evenly spread over the split")
    strengths: int = Field(3, ge=1, le=5, description="strengths 1 to this one")
    pictures: int = Field(0, ge=0, description="images to show with all their corruptions")


class Knn(Strict):
    """Cosine nearest neighbours on frozen features (scikit-learn)."""

    kind: Literal["knn"]
    data: str
    labels: int | float
    neighbours: int = Field(20, gt=0)


class _Finetuning(Strict):
    """The whole backbone and a new linear head, trained on all or a few labels."""

    data: str
    labels: int | float
    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    accumulate: int | None = Field(
        None, gt=0, description="split each batch into this many passes, to save memory"
    )
    optim: Optim
    augment: Augment
    whole_photographs: bool | None = Field(
        None, description="cut random crops from photographs as they are in their files"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    drop_path: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="stochastic depth of all blocks: share left out; null: as the encoder has it",
    )

    @model_validator(mode="after")
    def _can_be_split(self) -> Self:
        if self.batch_size % (self.accumulate or 1):
            raise PydanticCustomError(
                "accumulate", "accumulate must divide batch_size {size}", {"size": self.batch_size}
            )
        return self

    @model_validator(mode="after")
    def _is_scored_as_it_is(self) -> Self:
        if self.optim.ema_decay is not None:
            raise PydanticCustomError(
                "ema", "optim.ema_decay: a finetuned classifier is scored as it is; leave it out"
            )
        return self


class Finetune(_Finetuning):
    """Finetuning on images that are prepared for testing as the run prepares its own."""

    kind: Literal["finetune"]


class Transfer(_Finetuning):
    """Finetuning on other data, with images of the size and normalisation of ``augment``."""

    kind: Literal["transfer"]


class Classify(Strict):
    """Top-1 of a run that already has a classification head."""

    kind: Literal["classify"]
    data: str


class Shifted(Strict):
    """Top-1 of a classifier on other images of its classes, or of some of them.

    The classes are matched by name; scores of those that the data lack are left out.
    """

    kind: Literal["shifted"]
    data: str
    split: str = "test"


class Gallery(Strict):
    """Pictures of what a method sees and makes, for the report; yields no number."""

    kind: Literal["gallery"]
    data: str
    images: int = Field(8, gt=0)


CaptionMetric = Literal[
    "bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider", "spice"
]


class Caption(Strict):
    """Captions that a method says of a split's images, scored against people's (pycocoevalcap)."""

    kind: Literal["caption"]
    data: str
    split: str = "test"
    style: str = Field("captions", description="style of the references")
    metrics: tuple[CaptionMetric, ...] = Field(min_length=1)
    beams: int | None = Field(None, gt=0, description="instead of the run's own")
    source: Literal["image", "text"] = Field(
        "image", description="text: say each image's first reference again from its own embedding"
    )
    pictures: int = Field(0, ge=0, description="images to show with their captions")

    def leaves_out(self, metric: str) -> bool:
        """Say whether a metric, or one of a part of the images, is a score not asked for."""
        name = metric.removeprefix("unseen_").removeprefix("seen_")
        return name in get_args(CaptionMetric) and name not in self.metrics


class Retrieval(Strict):
    """Zero-shot retrieval between a split's images and captions by cosine: R@1, R@5, R@10."""

    kind: Literal["retrieval"]
    data: str
    split: str = "test"
    style: str = "captions"


class Gap(Strict):
    """How far a CLIP's image and text embeddings lie apart, and the noise that bridges it."""

    kind: Literal["gap"]
    data: str
    split: str = "train"
    style: str = "captions"
    images: int = Field(15, gt=1, description="images whose captions give epsilon")


class Sheet(Strict):
    """A contact sheet of a split's images with their captions, masks and boxes; no number."""

    kind: Literal["sheet"]
    data: str
    split: str = "test"
    images: int = Field(12, gt=0)


class Spectrum(Strict):
    """Share of high frequencies in the outputs of HiLo's two branches, over a split's images."""

    kind: Literal["spectrum"]
    data: str
    split: str = "test"
    images: int = Field(1000, gt=0, description="evenly spread over the split")
    radius: float = Field(
        0.5, gt=0, lt=2**0.5, description="high is above this share of the Nyquist frequency"
    )
    channels: int = Field(8, ge=0, description="of each branch to show, evenly spread")


class Segment(Strict):
    """mIoU, mean and pixel accuracy of a split's segmentation, of whole images or in windows.

    One scale, 1, without ``flip`` is a single-scale test; several with it a multi-scale one.
    """

    kind: Literal["segment"]
    data: str
    split: str = "test"
    images: int | None = Field(None, gt=0, description="evenly spread over the split; null: all")
    window: int | None = Field(None, gt=0, description="side, pixels; null: whole images")
    stride: int | None = Field(None, gt=0, description="between windows, pixels, at most a window")
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field((1.0,), min_length=1)
    flip: bool = Field(False, description="average over mirrored images, too")
    pictures: int = Field(0, ge=0, description="images to show with truth and prediction")

    @model_validator(mode="after")
    def _windows_cover_the_image(self) -> Self:
        if (self.window is None) != (self.stride is None):
            raise PydanticCustomError("window", "window and stride go together")
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise PydanticCustomError("stride", "stride must be at most window")
        return self


class Detect(Strict):
    """COCO's average precision of a split's boxes and, with ``masks``, instance masks.

    Images without objects count; those whose objects have no outlines are left out of the latter.
    """

    kind: Literal["detect"]
    data: str
    split: str = "test"
    images: int | None = Field(None, gt=0, description="evenly spread over the split; null: all")
    masks: bool = Field(False, description="of instance masks, too")
    areas: tuple[float, float] = Field(
        (32.0**2, 96.0**2), description="between small, medium and large objects, pixels"
    )
    batch_size: int = Field(16, gt=0, description="images of a forward pass")
    pictures: int = Field(0, ge=0, description="images to show with true and found objects")
    shown_score: float = Field(0.3, ge=0, lt=1, description="least score of a box in a picture")

    @model_validator(mode="after")
    def _areas_rise(self) -> Self:
        check_ranges(self, "areas")
        return self


Evaluator = Annotated[
    LinearProbe
    | Robustness
    | Knn
    | Finetune
    | Transfer
    | Classify
    | Shifted
    | Gallery
    | Caption
    | Retrieval
    | Gap
    | Sheet
    | Spectrum
    | Segment
    | Detect,
    Field(discriminator="kind"),
]
