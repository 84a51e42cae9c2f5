"""Settings of the CAN objective; MAE, SimCLR and every ablation are values of these."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.settings.base import Strict


class Settings(Strict):
    """One objective: contrast + reconstruction + noise prediction (arXiv 2210.16870).

    Defaults are the values that `shared` facts call most likely for the paper, where its text was
    not seen; each departure is listed in the deviations of the tables that use it.
    """

    views: Literal[1, 2] = 2
    mask_rate: float = Field(0.5, ge=0, lt=1, description="share of patches dropped per view")
    sigma_max: float = Field(0.05, ge=0, description="noise std is uniform in 0..sigma_max")
    weight_contrast: float = Field(0.03, ge=0)
    weight_reconstruct: float = Field(0.67, ge=0)
    weight_denoise: float = Field(0.30, ge=0)
    sigma_embedding: bool = Field(True, description="tell the decoder the noise level")
    temperature: float = Field(0.1, gt=0)
    projection: tuple[int, ...] = Field((4096, 4096, 128), description="layer widths, ReLU between")
    projection_norm: Literal["none", "batch"] = "none"
    decoder_depth: int = Field(8, ge=0)
    decoder_width: int = Field(512, gt=0)
    decoder_heads: int = Field(16, gt=0)
    normalise_target: bool = Field(False, description="per-patch normalised pixel targets")
    momentum: float | None = Field(
        None, gt=0, lt=1, description="contrast with a copy of the encoder that follows so slowly"
    )
    target: Literal["pixels", "tokens"] = Field(
        "pixels", description="what the decoder says of a dropped patch: its pixels, or its token"
    )
    vocabulary: int = Field(256, gt=1, description="tokens of target: tokens")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.weight_contrast and self.views != 2:
            raise PydanticCustomError("contrast", "weight_contrast > 0 needs views: 2")
        if self.weight_reconstruct and not self.mask_rate:
            raise PydanticCustomError("mask", "weight_reconstruct > 0 needs mask_rate > 0")
        if self.weight_denoise and not self.sigma_max:
            raise PydanticCustomError("noise", "weight_denoise > 0 needs sigma_max > 0")
        if not (self.weight_contrast or self.weight_reconstruct or self.weight_denoise):
            raise PydanticCustomError("weights", "at least one loss weight must be above 0")
        if self.momentum is not None and not self.weight_contrast:
            raise PydanticCustomError("momentum", "momentum needs weight_contrast > 0")
        if self.target == "tokens" and not self.weight_reconstruct:
            raise PydanticCustomError("tokens", "target: tokens needs weight_reconstruct > 0")
        if (self.weight_reconstruct or self.weight_denoise) and self.decoder_width % 4:
            raise PydanticCustomError("decoder", "decoder_width must be a multiple of 4")
        return self
