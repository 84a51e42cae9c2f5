"""What every parameter model shares: unknown keys are refused by name, values are frozen."""

import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.errors import unknown


class Strict(BaseModel):
    """A frozen model that refuses keys it does not know and names the nearest one it does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    message = unknown("key", str(key), cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key", "{text}", {"text": message, "key": str(key)}
                    )
        return value


def check_ranges(settings: BaseModel, *names: str) -> None:
    """Raise pydantic's error unless each of these settings is a range above zero."""
    for name in names:
        low, high = getattr(settings, name)
        if not 0 < low <= high:
            raise PydanticCustomError(
                "order", "{name} must be two numbers 0 < low <= high", {"name": name}
            )


class Augment(Strict):
    """Batched augmentation of uint8 images; every part that is off costs nothing.

    ``mean`` and ``std`` are in units of a pixel's full range (0..1), one value per channel, or a
    single one for all.
    """

    size: int = Field(gt=0, description="side of the output, pixels")
    crop_scale: tuple[float, float] = Field((1.0, 1.0), description="area of the random crop")
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = Field(0.0, ge=0, le=1, description="probability of a horizontal flip")
    jitter: float = Field(0.0, ge=0, le=1, description="probability of colour distortion")
    brightness: float = Field(0.0, ge=0)
    contrast: float = Field(0.0, ge=0)
    saturation: float = Field(0.0, ge=0)
    hue: float = Field(0.0, ge=0, le=0.5)
    grayscale: float = Field(0.0, ge=0, le=1, description="probability of removing colour")
    blur: float = Field(0.0, ge=0, le=1, description="probability of Gaussian blur")
    blur_sigma: tuple[float, float] = Field((0.1, 2.0), description="range of sigma, pixels")
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    test_crop: float | None = Field(
        None, gt=0, le=1, description="share of the side that is kept where nothing is augmented"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_ranges(self, "crop_scale", "crop_ratio", "blur_sigma")
        return self


class Optim(Strict):
    """Optimiser and schedule; ``lr`` is the peak for the whole global batch, never rescaled."""

    name: Literal["adamw", "lamb", "sgd"] = "adamw"
    lr: float = Field(gt=0)
    min_lr: float = Field(0.0, ge=0, description="the schedule ends here")
    schedule: Literal["cosine", "linear", "poly", "step"] = Field(
        "cosine", description="how the rate falls"
    )
    power: float | None = Field(None, gt=0, description="poly only: (1 - step / steps) ** power")
    milestones: tuple[int, ...] | None = Field(
        None, description="step only: before these steps the rate falls"
    )
    gamma: float | None = Field(None, gt=0, le=1, description="step only: to this share of it")
    warmup_steps: int = Field(0, ge=0)
    warmup_prefix: bool | None = Field(
        None,
        description="cosine only; true: it begins at the full rate where the warm-up ends (MAE's "
        "code), else at the first step, and the warm-up stands in its beginning's place (timm)",
    )
    warmup_lr: float | None = Field(None, ge=0, description="the warm-up begins here, not at 0")
    weight_decay: float = Field(0.05, ge=0, description="not applied to biases and norms")
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")
    layer_decay: float | None = Field(None, gt=0, le=1)
    lr_scale: dict[str, float] | None = Field(
        None, description="factors of the rate for parameters whose names match a pattern"
    )
    clip_norm: float | None = Field(None, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for schedule, *needed in (("poly", "power"), ("step", "milestones", "gamma")):
            for name in needed:
                if (getattr(self, name) is not None) != (self.schedule == schedule):
                    raise PydanticCustomError(
                        "schedule",
                        "schedule: {schedule} and {name} go together",
                        {"schedule": schedule, "name": name},
                    )
        if self.warmup_prefix is not None and self.schedule != "cosine":
            raise PydanticCustomError(
                "schedule",
                "warmup_prefix: only schedule: cosine has it, not {schedule}; leave it out",
                {"schedule": self.schedule},
            )
        if self.milestones is not None and list(self.milestones) != sorted({*self.milestones}):
            raise PydanticCustomError("order", "milestones must be rising steps")
        for pattern in self.lr_scale or ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise PydanticCustomError(
                    "pattern",
                    "lr_scale: {pattern!r} is no regular expression: {error}",
                    {"pattern": pattern, "error": str(error)},
                ) from None
        return self


class Model(Strict):
    """A timm architecture by name, with the arguments that differ from its defaults."""

    name: str
    args: dict[str, Any] = Field(default_factory=dict)
