"""A contact sheet of scenes: each with its boxes, its mask and its captions."""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

if TYPE_CHECKING:  # the data set is made from the modules beside this one
    from matplotlib.axes import Axes

    from reprise.data.sets.fashion_scenes import SceneSet

COLUMNS = 3
WIDTH, HEIGHT = 6.4, 1.75  # inches of one scene
COLOURS = ListedColormap(
    [(0.0, 0.0, 0.0), *colormaps["tab10"](range(10))]
)  # of a mask: black where no garment is seen


def contact_sheet(
    data: "SceneSet", indices: Sequence[int], style: str = "captions", dpi: int = 100
) -> bytes:
    """Return a PNG of scenes at indices, in rows of COLUMNS: picture, boxes and mask, captions."""
    rows = -(-len(indices) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * WIDTH, rows * HEIGHT), dpi=dpi, layout="constrained")
    axes = figure.subplots(rows, COLUMNS * 3, squeeze=False, width_ratios=[1, 1, 1.8] * COLUMNS)
    for place in axes.flat:
        place.axis("off")
    for number, index in enumerate(indices):
        row, column = divmod(number, COLUMNS)
        _scene(data, index, style, axes[row, column * 3 : column * 3 + 3].tolist())
    stream = io.BytesIO()
    # No version or date, so that equal sheets are equal files.
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _scene(data: "SceneSet", index: int, style: str, axes: "Sequence[Axes]") -> None:
    picture, mask, text = axes
    picture.imshow(data.images[index].permute(1, 2, 0).numpy(), interpolation="nearest")
    mask.imshow(data.masks[index].numpy(), COLOURS, vmin=0, vmax=10, interpolation="nearest")
    for kind, x0, y0, x1, y1 in data.boxes[index, : int(data.counts[index])].tolist():
        corner = (x0 - 0.5, y0 - 0.5)
        mask.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, color="white"))
        mask.text(x0, y0 + 1, data.classes[kind], fontsize=6, color="white", va="top")
    lines = [textwrap.fill(words, 56) for words in data.captions(index, style)]
    title = f"#{index}" + (" (unseen combination)" if bool(data.unseen[index]) else "")
    text.text(0, 1, "\n".join([title, *lines]), fontsize=6.5, va="top", transform=text.transAxes)


def spread(total: int, count: int) -> list[int]:
    """Return count indices spread evenly over total."""
    return [int(at) for at in np.linspace(0, total - 1, min(count, total)).round()]
