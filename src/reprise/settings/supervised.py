"""Settings of supervised classification (also the head that finetuning puts on a backbone)."""

from typing import Literal

from pydantic import Field

from reprise.settings.base import Strict


class Settings(Strict):
    """Cross-entropy on one label per image."""

    loss: Literal["ce"] = "ce"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    fixed_positions: bool = Field(False, description="sine-cosine positions that are not trained")
