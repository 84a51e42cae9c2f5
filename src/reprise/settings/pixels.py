"""Settings of the raw-pixel baseline: there are none."""

from reprise.settings.base import Strict


class Settings(Strict):
    """The features are the pixels themselves; nothing is trained."""
