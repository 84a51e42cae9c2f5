"""Settings of contrastive language-image pretraining, or of released weights taken as they are."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from reprise.settings.base import Strict


class Settings(Strict):
    """A dual encoder: trained from scratch on the pairs of a data set, or released.

    ``model.name`` of the run is ``scratch``, with open_clip's ``embed_dim``, ``vision_cfg`` and
    ``text_cfg`` as ``model.args``, or with ``weights`` an architecture of open_clip.
    """

    weights: str | None = Field(
        None, description="open_clip's tag, such as openai, or a local file; with steps: 0"
    )
    styles: tuple[str, ...] = Field(
        ("captions",), min_length=1, description="styles of captions that it is trained on"
    )
    context: int = Field(77, gt=2, description="tokens of a text, start and end among them")

    @model_validator(mode="after")
    def _scratch(self) -> Self:
        if self.weights is not None and self.context != 77:
            raise PydanticCustomError("context", "released weights have a context of 77 tokens")
        return self
