"""Settings of the lookup baseline."""

from pydantic import Field

from reprise.settings.base import Strict


class Settings(Strict):
    """The training caption whose embedding is nearest to the image's."""

    style: str = Field("captions", description="style of the captions to look up")
