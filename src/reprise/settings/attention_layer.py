"""Settings of single attention layers, which are here for their cost."""

from pydantic import Field

from reprise.settings.base import Strict


class Settings(Strict):
    """The tokens that a layer is given; how many there are is ``augment.size`` squared."""

    width: int = Field(768, gt=0, description="channels of a token")
    heads: int = Field(12, gt=0)
