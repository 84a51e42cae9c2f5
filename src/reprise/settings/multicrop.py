"""Settings of the multi-crop objective, which is here for its cost."""

from pydantic import Field

from reprise.settings.base import Strict


class Settings(Strict):
    """Swapped prediction over many crops (SwAV, arXiv 2006.09882; DINO crops the same way)."""

    local_crops: int = Field(6, ge=0, description="small crops beside the two full views")
    local_size: int = Field(gt=0, description="side of a small crop, pixels; whole patches")
    projection: tuple[int, ...] = Field((2048, 128), description="layer widths, ReLU between")
    prototypes: int = Field(3000, gt=1)
    temperature: float = Field(0.1, gt=0)
    sinkhorn_epsilon: float = Field(0.05, gt=0)
