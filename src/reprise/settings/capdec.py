"""Settings of CapDec; ClipCap, its supervised counterpart, and ablations are values of these."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.settings.base import Strict


class Settings(Strict):
    """One decoder of CLIP embeddings (arXiv 2211.00575); defaults are those of the public code."""

    embedding: int = Field(640, gt=0, description="numbers of a CLIP embedding; RN50x4 has 640")
    source: Literal["text", "image"] = Field(
        "text", description="what is decoded in training; image is ClipCap, which needs pairs"
    )
    style: str = Field("captions", description="style of the captions to learn")
    noise_variance: float = Field(
        0.016, ge=0, description="of Gaussian noise on each number of a unit embedding"
    )
    normalise: bool = Field(
        True, description="scale embeddings to length 1, before and after noise"
    )
    offset: Literal["none", "train", "test"] = Field(
        "none", description="add mean image minus mean text: in training, or its opposite at test"
    )
    target: Literal["same", "other"] = Field(
        "same", description="say the caption that is embedded, or another one of the same image"
    )
    mapper: Literal["transformer", "mlp"] = "transformer"
    prefix: int = Field(40, gt=0, description="vectors that the language model sees first")
    clip_tokens: int = Field(
        40, gt=0, description="of the transformer mapper, beside its constants"
    )
    mapper_layers: int = Field(8, gt=0)
    mapper_heads: int = Field(8, gt=0)
    language_model: str | None = Field(
        None, description="released GPT-2, a name on the hub or a local folder; null: from scratch"
    )
    train_language_model: bool = True
    longest: int = Field(67, gt=1, description="tokens of a caption, its end included")
    beams: int = Field(5, gt=0, description="1 is greedy")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "image" and self.target == "other":
            raise PydanticCustomError("target", "target: other needs source: text")
        if self.mapper == "mlp" and self.prefix % 2:
            raise PydanticCustomError("mlp", "the MLP mapper needs an even prefix")
        return self
