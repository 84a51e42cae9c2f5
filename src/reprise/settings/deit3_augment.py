"""Settings of the augmentations that training recipes of DeiT III's table choose from."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.settings.base import Strict, check_ranges

BLUR_SIGMA = (0.1, 2.0)  # the paper's, and fixed in timm
SOLARIZE_THRESHOLD = 128 / 255  # the same


class RecipeAugment(Strict):
    """Crop and flip, then 3-Augment or RandAugment, then colour jitter, then random erasing.

    Defaults are the paper's 3-Augment (arXiv 2204.07118). Every part does what its setting says,
    whatever the others are; timm silently leaves the jitter out beside RandAugment. ``mean`` and
    ``std`` are those with which pixels in 0..1 are normalised afterwards, one value per channel or
    one for all: RandAugment fills what it uncovers with the mean, and erased pixels become normal
    noise of these.
    """

    size: int = Field(gt=0, description="side of the output, pixels")
    crop: Literal["rrc", "src", "none"] = Field(
        "rrc",
        description="random resized crop; simple random crop (resized, padded, then cropped); or "
        "resized alone",
    )
    crop_scale: tuple[float, float] = Field((0.08, 1.0), description="area of crop: rrc")
    crop_ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="width/height, crop: rrc")
    padding: int = Field(
        4, ge=0, description="of crop: src, reflected pixels at the output's scale, at any size"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    policy: Literal["three", "rand", "none"] = "three"
    jitter: float = Field(
        0.3, ge=0, le=1, description="strength of brightness, contrast, saturation in random order"
    )
    blur_sigma: tuple[float, float] = Field(BLUR_SIGMA, description="policy: three; in pixels")
    solarize_threshold: float = Field(
        SOLARIZE_THRESHOLD, ge=0, le=1, description="policy: three; rounded to whole 1/255"
    )
    rand_magnitude: int = Field(9, ge=0, le=10, description="policy: rand")
    rand_std: float = Field(0.5, ge=0, description="policy: rand; of the magnitude")
    rand_layers: int = Field(2, gt=0, description="policy: rand; operations per image")
    erasing: float = Field(0.0, ge=0, le=1, description="probability of erasing a rectangle")
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    backend: Literal["batched", "pil"] = Field(
        "batched", description="tensor code for whole batches, or timm image by image with Pillow"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_ranges(self, "crop_scale", "crop_ratio", "blur_sigma")
        if self.crop == "src" and self.padding >= self.size:
            raise PydanticCustomError("padding", "crop: src needs padding below size")
        return self

    @model_validator(mode="after")
    def _backend_can(self) -> Self:
        if self.policy == "rand" and self.backend != "pil":
            raise PydanticCustomError(
                "rand", "policy: rand needs backend: pil; RandAugment is timm's, image by image"
            )
        fixed = (self.blur_sigma, self.solarize_threshold) == (BLUR_SIGMA, SOLARIZE_THRESHOLD)
        if self.policy == "three" and self.backend == "pil" and not fixed:
            raise PydanticCustomError(
                "three",
                "backend: pil takes no blur_sigma or solarize_threshold, which timm fixes at the "
                "paper's values; leave them out, or use backend: batched",
            )
        return self
