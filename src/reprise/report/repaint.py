"""Drawn predictions in colours that can be told apart, and without words over words.

Evaluators leave pictures, not masks. What was drawn over a photograph is read off its colours, for
the photograph itself and the legend are known.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor
from scipy import ndimage

Legend = tuple[tuple[str, str], ...]
Pixels = NDArray[np.uint8]

# Those of Okabe and Ito, chosen for eyes that lack a receptor, with indigo and wine beside them.
PALETTE = (
    *("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2"),
    *("#d55e00", "#cc79a7", "#332288", "#661100", "#000000"),
)
NEUTRAL = "#e4e4e4"  # what is no object
# How evaluators draw; the tests hold these against what they draw.
_OPACITY = {"segment": 0.6, "detect": 0.4}
_SLACK = 3  # by so much a colour may differ from its class's, because what is drawn is rounded
_LINE = 9  # pixels; no stroke of a letter is as long, and hardly a box as short
_GAP = 12  # pixels of a line that letters or another box may cover
# Beside lines, so that light ones are seen on grey, and where masks overlap.
_EDGE = np.array([70, 70, 70], np.uint8)
_FILL = 0.5  # opacity of an object's mask over the photograph in grey


def recoloured(kind: str, legend: Legend) -> Legend:
    """Return an evaluator's classes in colours of their own; as they are where there are too many.

    The first class of a segmentation is neutral where it is the background.
    """
    plain = kind == "segment" and bool(legend) and legend[0][0] == "background"
    colours = (NEUTRAL, *PALETTE) if plain else PALETTE
    if kind not in _OPACITY or len(legend) > len(colours):
        return legend
    return tuple((name, colours[number]) for number, (name, _) in enumerate(legend))


def repainted(kind: str, legend: Legend, image: Pixels, drawn: Pixels) -> Pixels:
    """Return what was drawn over an image in the colours of `recoloured`.

    A segmentation becomes its classes' colours alone; where a pixel has no label, the photograph in
    grey. Of detections, masks (dark where several overlap) and boxes remain over that; the legend
    stands for their words, so detections of more classes than the palette has colours stay as they
    are, and so does what other evaluators draw.
    """
    factor = drawn.shape[0] // image.shape[0]
    photograph = image.repeat(factor, axis=0).repeat(factor, axis=1)
    if kind not in _OPACITY or photograph.shape != drawn.shape or drawn.ndim != 3:
        return drawn
    before, after = _colours(legend), _colours(recoloured(kind, legend))
    if kind == "segment":
        return _layered(_in_grey(photograph), _classes(photograph, drawn, before, kind), after, 1)
    if len(legend) > len(PALETTE):
        return drawn
    masks = _masks(photograph, drawn, before, factor)
    shown = _layered(_in_grey(photograph), masks, np.vstack([after, _EDGE]), _FILL)
    boxes = _boxes(photograph, drawn, before)
    edges = ndimage.binary_dilation(boxes >= 0, np.ones((3, 3))) & (boxes < 0)
    return _layered(np.where(edges[..., None], _EDGE, shown), boxes, after, 1)


def _colours(legend: Legend) -> NDArray[np.int64]:
    return np.array([ImageColor.getrgb(colour)[:3] for _, colour in legend]).reshape(-1, 3)


def _in_grey(photograph: Pixels) -> Pixels:
    """Return a photograph in light greys, on which every colour of the palette is seen."""
    light = photograph.mean(axis=2, keepdims=True) / 255
    return np.broadcast_to(110 + 145 * light, photograph.shape).astype(np.uint8)


def _layered(
    below: Pixels, classes: NDArray[np.int64], colours: NDArray[np.int64], opacity: float
) -> Pixels:
    """Return a picture under the colours of classes [H, W], -1 where there is none."""
    mixed = (1 - opacity) * below + opacity * colours[classes]
    return np.where((classes < 0)[..., None], below, mixed).round().astype(np.uint8)


def _classes(
    photograph: Pixels, drawn: Pixels, colours: NDArray[np.int64], kind: str
) -> NDArray[np.int64]:
    """Return the class [H, W] whose colour lies over each pixel, -1 where none does."""
    opacity = _OPACITY[kind]
    over = (drawn - (1 - opacity) * photograph) / opacity
    found, places = np.unique(over.round().reshape(-1, 3), axis=0, return_inverse=True)
    least, nearest = np.full(len(found), _SLACK + 1.0), np.full(len(found), -1)
    for number, colour in enumerate(colours):  # all at once takes a gigabyte for a photograph
        apart = np.abs(found - colour).max(axis=1)
        nearest[apart < least] = number
        least = np.minimum(least, apart)
    classes: NDArray[np.int64] = nearest[places.reshape(photograph.shape[:2])]
    return classes


def _masks(
    photograph: Pixels, drawn: Pixels, colours: NDArray[np.int64], factor: int
) -> NDArray[np.int64]:
    """Return the class [H, W] of the object's mask over each pixel, -1 where there is none.

    Masks were drawn before the image was enlarged, words and boxes after: most pixels of a block
    say what its mask is, or else those of the nearest block. Where masks overlap they are black.
    """
    colours = np.vstack([colours, [0, 0, 0]])
    classes = _classes(photograph, drawn, colours, "detect")
    plain = (photograph == drawn).all(axis=2)
    kinds = [plain, *(~plain & (classes == number) for number in range(len(colours)))]
    height, width = plain.shape
    blocks = np.stack(kinds).reshape(-1, height // factor, factor, width // factor, factor)
    votes = blocks.sum(axis=(2, 4))
    covered = votes.max(axis=0) < factor**2 / 2
    nearest = ndimage.distance_transform_edt(covered, return_distances=False, return_indices=True)
    most: NDArray[np.int64] = votes.argmax(axis=0)[tuple(nearest)] - 1
    return most.repeat(factor, axis=0).repeat(factor, axis=1)


def _boxes(photograph: Pixels, drawn: Pixels, colours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class [H, W] of the box whose line crosses each pixel, -1 where none does."""
    changed = (photograph != drawn).any(axis=2)
    classes = np.full(changed.shape, -1)
    for number, colour in enumerate(colours):
        own = changed & (drawn == colour).all(axis=2)
        for across, gap in (((1, _LINE), (1, _GAP)), ((_LINE, 1), (_GAP, 1))):
            lines = ndimage.binary_opening(own, np.ones(across))
            classes[lines | (changed & _closed(lines, gap))] = number
    return classes


def _closed(lines: NDArray[np.bool_], gap: tuple[int, int]) -> NDArray[np.bool_]:
    """Return lines without their gaps; the edge of a picture is no end of a gap."""
    return np.asarray(ndimage.binary_closing(lines, np.ones(gap)))
