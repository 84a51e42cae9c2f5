"""Settings of LITv2's training: DeiT's recipe, and what stands in the network's places."""

from typing import Any, Literal

from pydantic import Field

from reprise.settings.deit3 import Settings as Recipe


class Settings(Recipe):
    """A recipe and the switches of the paper's ablations.

    A switch that is null is as the model has it; a model other than LITv2 takes none.
    """

    loss: Literal["bce", "ce"] = "ce"
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    repeats: int = Field(1, ge=1, description="augmented copies of an image in a batch")
    drop_path: float = Field(0.2, ge=0, lt=1, description="stochastic depth of the last block")
    drop_path_schedule: Literal["linear"] = "linear"
    layer_scale: None = Field(None, description="LITv2 has none")
    weights: str | None = Field(
        None, description="the authors' file, or what `reprise convert litv2` made of it"
    )

    attention: str | None = Field(
        None, description="in place of HiLo, by its name in reprise.models.mechanisms"
    )
    attention_args: dict[str, Any] | None = Field(
        None, description="what that mechanism has of its own, such as its window"
    )
    alpha: float | None = Field(
        None, ge=0, le=1, description="share of HiLo's heads, cut off, that are Lo-Fi"
    )
    window_sizes: tuple[int, ...] | None = Field(
        None, description="of each stage: 0 no attention, 1 plain attention, else HiLo's windows"
    )
    depthwise: bool | None = Field(None, description="convolution in the feed-forward layers")
    relative_position: bool | None = Field(
        None, description="a learned bias by position in plain attention, as in LITv1"
    )
    deformable: bool | None = Field(None, description="offsets in token merging")

    @property
    def switches(self) -> dict[str, Any]:
        """The network's arguments that are not as the model has them."""
        given = {name: getattr(self, name) for name in SWITCHES}
        return {name: value for name, value in given.items() if value is not None}


SWITCHES = (
    *("attention", "attention_args", "alpha", "window_sizes"),
    *("depthwise", "relative_position", "deformable"),
)
