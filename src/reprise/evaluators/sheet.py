"""A contact sheet: what a data set of scenes shows and says, for the report."""

import io

import numpy as np
from PIL import Image

from reprise.data.scenes.sheet import contact_sheet, spread
from reprise.data.sets.fashion_scenes import SceneSet
from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Result
from reprise.settings.evaluators import Sheet


def evaluate(context: Context, settings: Sheet, name: str) -> Result:
    """Show images spread evenly over the split, with captions, masks and boxes."""
    data = context.data(settings.data, settings.split)
    if not isinstance(data, SceneSet):
        raise ConfigError(f"evaluator {name!r}: data set {data.name!r} has no scenes to show")
    drawn = contact_sheet(data, spread(len(data), settings.images))
    picture = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"))
    return Result(data, pictures={"contact sheet": picture[None]})
