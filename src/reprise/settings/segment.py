"""Settings of semantic segmentation: a head on an encoder's maps, trained with it."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.settings.base import Strict, check_ranges

GROUPS = 32  # of the group norm in segmentation_models_pytorch's FPN; one channel is no group


class Settings(Strict):
    """UPerNet or Semantic FPN; defaults are those of the papers' runs at ADE20K.

    Stochastic depth is the encoder's own (``model.args: drop_path_rate``). ``mean`` and ``std`` are
    in units of a pixel's full range (0..1), one value per channel, or a single one for all.
    """

    head: Literal["upernet", "fpn"]
    channels: int = Field(
        512, gt=0, description="upernet: of all its layers; fpn: of the pyramid (256 in the papers)"
    )
    fpn_channels: int = Field(128, gt=0, description="fpn: of the layers behind its pyramid")
    dropout: float = Field(0.1, ge=0, lt=1, description="of whole maps, before the classifier")
    auxiliary: float = Field(
        0.0,
        ge=0,
        description="weight of the loss of a second, plain head on the third map; 0: none",
    )
    auxiliary_channels: int = Field(256, gt=0)
    crop: int = Field(gt=0, description="side of training images, pixels")
    scale: tuple[float, float] = Field(
        (0.5, 2.0), description="of training photos, before they are cropped; uniform"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="strength of brightness, contrast and saturation, each for half of the images",
    )
    hue: float = Field(0.0, ge=0, le=0.5, description="the same of hue, in full circles")
    brightness: float | None = Field(
        None,
        ge=0,
        le=1,
        description="added to the images or subtracted, at most, of a pixel's full range, as "
        "mmsegmentation does; null: multiplied by jitter's factor",
    )
    images: float = Field(1.0, gt=0, le=1, description="share of the images that it is trained on")
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    grey: bool = Field(False, description="images are made grey, for an encoder of one channel")
    fixed_positions: bool = Field(
        False, description="sine-cosine positions that are not trained, as CAN's encoder has them"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_ranges(self, "scale")
        if len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise PydanticCustomError(
                "normalise", "mean and std must be as many numbers, those of std above 0"
            )
        if self.head == "fpn" and (self.fpn_channels % GROUPS or self.fpn_channels == GROUPS):
            raise PydanticCustomError(
                "groups",
                "fpn_channels must be a multiple of {groups}, and more: they are normalised in "
                "so many groups",
                {"groups": GROUPS},
            )
        return self
