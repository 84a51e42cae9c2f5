"""Settings of detection: torchvision's detectors on an encoder's maps."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.settings.base import Strict, check_ranges

LEVELS = 4  # maps of a pyramid
EXTRA = {"none": 0, "pool": 1, "convs": 2}  # maps behind the coarsest one
OCTAVE = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))

Positive = Annotated[float, Field(gt=0)]
Level = Annotated[int, Field(ge=0, lt=LEVELS)]


class Settings(Strict):
    """RetinaNet or Mask R-CNN; defaults are those of the LITv2 paper's RetinaNet at COCO.

    Stochastic depth is the encoder's own (``model.args: drop_path_rate``). ``mean`` and ``std`` are
    in units of a pixel's full range (0..1), one value per channel, or a single one for all. Sizes
    are in pixels of the images as they are in the data: no image is resized, but by ``scale``.
    """

    detector: Literal["retinanet", "mask_rcnn"]
    levels: tuple[Level, ...] = Field(
        (1, 2, 3), min_length=1, description="of the encoder's four maps, those of the pyramid"
    )
    normalised: tuple[Level, ...] = Field(
        (1, 2, 3), description="of the encoder's four maps, those that get a LayerNorm"
    )
    channels: int = Field(256, gt=0, description="of the pyramid")
    extra: Literal["none", "pool", "convs"] = Field(
        "convs", description="coarser maps: none, one subsampled, two of convolutions"
    )
    anchor_sizes: tuple[tuple[Positive, ...], ...] = Field(
        tuple(tuple(round(8 * 4 * 2**level * part, 2) for part in OCTAVE) for level in range(5)),
        description="of each map: sides of its square anchors, pixels",
    )
    aspect_ratios: tuple[Positive, ...] = Field(
        (0.5, 1.0, 2.0), min_length=1, description="height over width; the area stays"
    )
    # RetinaNet
    head_convs: int = Field(4, ge=1, le=4, description="retinanet: before each of its two outputs")
    candidates: int = Field(1000, gt=0, description="retinanet: of each map, before suppression")
    # Mask R-CNN
    sampled_anchors: int = Field(256, gt=0, description="mask_rcnn: of an image, in its first loss")
    proposals: int = Field(2000, gt=0, description="mask_rcnn: of an image in training")
    test_proposals: int = Field(1000, gt=0, description="mask_rcnn: of an image at test")
    rois: int = Field(512, gt=0, description="mask_rcnn: of an image, in its second loss")
    roi_scale: float = Field(
        224, gt=0, description="mask_rcnn: side of the boxes that are read off the third finest map"
    )
    roi_samples: int = Field(
        0, ge=0, description="mask_rcnn: points on each axis of a cell of a box; 0: as many as fit"
    )
    box_width: int = Field(1024, gt=0, description="mask_rcnn: of its two linear layers")
    mask_convs: int = Field(4, ge=1, description="mask_rcnn: of its masks")
    mask_width: int = Field(256, gt=0)
    # Test
    score_threshold: float = Field(0.05, ge=0, lt=1, description="of a detection's score, at least")
    suppression: float = Field(
        0.5, gt=0, le=1, description="overlap (IoU) above which the lower of two detections goes"
    )
    detections: int = Field(
        100, gt=0, le=100, description="of an image, at most; COCO counts no more of a class"
    )
    # Images
    images: float = Field(1.0, gt=0, le=1, description="share of the images that it is trained on")
    scale: tuple[float, float] = Field((1.0, 1.0), description="of training images; uniform")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    grey: bool = Field(False, description="images are made grey, for an encoder of one channel")
    cost_size: tuple[int, int] = Field(
        (800, 1280), description="height and width of the images that benchmarks make up"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_ranges(self, "scale")
        if len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise PydanticCustomError(
                "normalise", "mean and std must be as many numbers, those of std above 0"
            )
        if list(self.levels) != list(range(self.levels[0], self.levels[-1] + 1)):
            raise PydanticCustomError("levels", "levels must be consecutive, finest first")
        maps = len(self.levels) + EXTRA[self.extra]
        if len(self.anchor_sizes) != maps:
            raise PydanticCustomError(
                "anchors",
                "anchor_sizes has {given} lists of sizes, but the pyramid has {maps} maps: "
                "{levels} levels and {extra} extra",
                {
                    "given": len(self.anchor_sizes),
                    "maps": maps,
                    "levels": len(self.levels),
                    "extra": EXTRA[self.extra],
                },
            )
        if len({len(sizes) for sizes in self.anchor_sizes}) != 1 or not self.anchor_sizes[0]:
            raise PydanticCustomError(
                "anchors", "anchor_sizes must have as many sizes for every map, at least one"
            )
        if min(self.cost_size) < 1:
            raise PydanticCustomError("cost_size", "cost_size must be two numbers above 0")
        return self
