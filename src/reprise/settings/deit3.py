"""Settings of supervised training by a recipe: augmentation, mixing, loss, regularisation."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.settings.base import Strict
from reprise.settings.deit3_augment import RecipeAugment


class Settings(Strict):
    """A recipe; what stands here and in ``optim`` is what the paper's Table 1 lists."""

    image: RecipeAugment = Field(description="of training images; normalises test images, too")
    test_size: int = Field(gt=0, description="side of test images, pixels")
    test_crop: float = Field(
        1.0, gt=0, le=1, description="share of a side that the test crop keeps"
    )
    loss: Literal["bce", "ce"] = "bce"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    mixup: float = Field(0.8, ge=0, description="alpha of the Beta distribution; 0: none")
    cutmix: float = Field(1.0, ge=0, description="alpha of the Beta distribution; 0: none")
    mix_prob: float = Field(1.0, ge=0, le=1, description="share of batches that are mixed")
    repeats: int = Field(3, ge=1, description="augmented copies of an image in a batch")
    layer_scale: float | None = Field(1e-4, gt=0, description="initial value; null: none")
    drop_path: float = Field(0.05, ge=0, lt=1, description="stochastic depth: share left out")
    drop_path_schedule: Literal["uniform", "linear"] = "uniform"
    dropout: float = Field(0.0, ge=0, lt=1)
    weights: str | None = Field(
        None, description="released weights: a file, or a name with a tag of timm's"
    )

    @model_validator(mode="after")
    def _targets_can_be_binarised(self) -> Self:
        # Smoothing would put every class above zero, and so make all of them positive.
        if self.loss == "bce" and self.label_smoothing:
            raise PydanticCustomError(
                "smoothing", "loss: bce takes no label_smoothing; set it to 0, or loss: ce"
            )
        return self
