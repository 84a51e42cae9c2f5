"""Two domains of scenes, each with colours, backgrounds and turns of phrase of its own.

``town`` is plain and indoors, ``nature`` out of doors and talkative. Half of their colours' names
are shared, in other shades; their garments are.
"""

from dataclasses import dataclass

from reprise.data.scenes import patterns
from reprise.data.scenes.patterns import Colour, Pattern


@dataclass(frozen=True)
class Tint:
    """A garment's colour: red, green and blue (0..255), and what it may be called."""

    colour: Colour
    names: tuple[str, ...]


@dataclass(frozen=True)
class Background:
    """A texture, how a sentence places things before it, and the tints that do not show on it.

    ``hides`` are first names of tints; ``phrases`` stand at a sentence's beginning or end.
    """

    pattern: Pattern
    phrases: tuple[str, ...]
    hides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Domain:
    """All that sets one domain apart. Tints number `TINTS`.

    ``openers`` stand before what is seen, ``there`` before it in mid-sentence; a bar parts what is
    said of one thing from what is said of several. ``verbs`` are such pairs.
    """

    name: str
    tints: tuple[Tint, ...]
    backgrounds: tuple[Background, ...]
    openers: tuple[str, ...]
    there: tuple[str, ...]
    verbs: tuple[tuple[str, str], ...]


TINTS = 10

TOWN = Domain(
    "town",
    tints=(
        Tint((225, 35, 35), ("red", "scarlet", "bright red")),
        Tint((248, 140, 20), ("orange", "tangerine")),
        Tint((252, 228, 50), ("yellow", "lemon yellow", "sunny yellow")),
        Tint((45, 175, 60), ("green", "emerald", "bright green")),
        Tint((35, 205, 200), ("turquoise", "aqua", "aquamarine")),
        Tint((45, 85, 235), ("blue", "cobalt blue", "royal blue")),
        Tint((145, 60, 200), ("purple", "violet")),
        Tint((252, 120, 185), ("pink", "rose pink")),
        Tint((252, 252, 252), ("white", "ivory", "snow-white")),
        Tint((142, 86, 45), ("brown", "chocolate brown", "coffee brown")),
    ),
    backgrounds=(
        Background(
            patterns.plain((150, 150, 156)),
            ("in front of a grey wall", "against a grey wall", "on a plain grey background"),
        ),
        Background(
            patterns.plain((236, 222, 190)),
            ("in front of a cream wall", "against a beige wall", "on a plain beige background"),
            ("white", "yellow"),
        ),
        Background(
            patterns.plain((22, 22, 26)),
            ("on a black background", "against a black backdrop", "in front of a dark wall"),
        ),
        Background(
            patterns.plain((175, 208, 240)),
            ("in front of a pale blue wall", "against a pale blue wall", "on a pale background"),
            ("white",),
        ),
        Background(
            patterns.above(patterns.plain((214, 210, 204)), patterns.planks((158, 112, 70))),
            (
                "on a wooden floor",
                "on a floor of wooden boards",
                "in a room with a wooden floor",
                "on the parquet",
            ),
            ("brown", "orange", "white"),
        ),
        Background(
            patterns.stripes((196, 198, 212), (122, 130, 158)),
            (
                "in front of striped wallpaper",
                "against a striped wall",
                "on a striped background",
                "before stripes",
            ),
            ("white",),
        ),
        Background(
            patterns.checks((56, 56, 60), (176, 176, 180)),
            (
                "on a chequered floor",
                "on a checked cloth",
                "on a chessboard pattern",
                "against checks",
            ),
            ("white",),
        ),
        Background(
            patterns.dots((225, 225, 232), (34, 42, 88)),
            (
                "in front of a dotted curtain",
                "on a spotted cloth",
                "on a polka dot background",
                "against white dots",
            ),
            ("blue", "white"),
        ),
        Background(
            patterns.speckle((70, 128, 56), 26),
            ("on the grass", "on a lawn", "on green grass", "in a garden"),
            ("green",),
        ),
        Background(
            patterns.street,
            ("on the street", "on the road", "by the roadside", "on the asphalt"),
            ("white",),
        ),
        Background(
            patterns.bricks((150, 74, 58), (186, 176, 166)),
            (
                "in front of a brick wall",
                "against a brick wall",
                "against red bricks",
                "before a wall of bricks",
            ),
            ("red", "brown", "orange"),
        ),
        Background(
            patterns.tiles((186, 226, 208), (112, 150, 136)),
            ("in a tiled bathroom", "against mint tiles", "on the tiles", "in front of tiles"),
            ("white", "turquoise"),
        ),
    ),
    openers=(
        "",
        "",
        "",
        "there is|there are",
        "there is|there are",
        "a photo of",
        "a picture of",
        "an image of",
        "a close-up of",
        "this photo shows",
        "the picture shows",
        "here is",
        "we see",
    ),
    there=("there is|there are", "we see", "one can see", "you can see", "the camera shows"),
    verbs=(
        ("is", "are"),
        ("lies", "lie"),
        ("is shown", "are shown"),
        ("is placed", "are placed"),
        ("sits", "sit"),
        ("can be seen", "can be seen"),
    ),
)

NATURE = Domain(
    "nature",
    tints=(
        Tint((205, 20, 66), ("red", "crimson", "cherry red")),
        Tint((228, 178, 28), ("yellow", "golden", "mustard yellow")),
        Tint((16, 122, 74), ("green", "dark green", "bottle green")),
        Tint((70, 136, 224), ("blue", "azure", "cornflower blue")),
        Tint((192, 150, 240), ("purple", "lilac", "lavender")),
        Tint((244, 238, 222), ("white", "chalk white")),
        Tint((46, 46, 54), ("black", "charcoal", "jet black")),
        Tint((152, 152, 160), ("grey", "silver")),
        Tint((176, 234, 46), ("lime", "lime green")),
        Tint((122, 22, 48), ("maroon", "burgundy", "wine red")),
    ),
    backgrounds=(
        Background(
            patterns.speckle((226, 232, 242), 8, 2),
            ("in the snow", "on fresh snow", "in a snowy field", "on the snow"),
            ("white", "grey"),
        ),
        Background(
            patterns.above(
                patterns.waves((60, 130, 170)), patterns.speckle((222, 198, 148), 10, 1)
            ),
            ("on the beach", "on a sandy beach", "on the sand by the sea", "at the seaside"),
            ("yellow", "white"),
        ),
        Background(
            patterns.waves((34, 92, 146)),
            ("in the water", "on the open sea", "on the waves", "in the ocean"),
            ("blue",),
        ),
        Background(
            patterns.stars((22, 24, 62)),
            (
                "under the night sky",
                "under the stars",
                "on a starry night",
                "at night beneath the stars",
            ),
            ("black",),
        ),
        Background(
            patterns.gradient((92, 70, 130), (250, 142, 70)),
            ("at sunset", "in the evening sky", "at dusk", "before a setting sun"),
            ("yellow",),
        ),
        Background(
            patterns.flowers,
            ("in a meadow", "among the flowers", "in a flowery field", "in the wild grass"),
            ("green", "lime"),
        ),
        Background(
            patterns.trunks,
            ("in the forest", "in the woods", "among the trees", "between dark trees"),
            ("green", "black"),
        ),
        Background(
            patterns.patches(((120, 118, 114), (158, 154, 148), (96, 94, 92), (184, 180, 172)), 3),
            ("on the gravel", "on pebbles", "on stony ground", "among the stones"),
            ("grey",),
        ),
        Background(
            patterns.patches(((190, 96, 34), (152, 62, 28), (212, 146, 46), (112, 66, 36)), 3),
            (
                "on autumn leaves",
                "among fallen leaves",
                "in the autumn foliage",
                "on a bed of leaves",
            ),
            ("yellow", "red", "maroon"),
        ),
        Background(
            patterns.clouds((128, 186, 236)),
            ("in the sky", "among the clouds", "before a cloudy sky", "high in the air"),
            ("blue", "white"),
        ),
    ),
    openers=(
        "",
        "",
        "out of doors,",
        "there is|there are",
        "look,",
        "somebody has lost",
        "somebody left",
        "a hiker finds",
        "a view of",
        "a scene with",
        "a snapshot of",
        "hikers came across",
    ),
    there=(
        "there is|there are",
        "somebody left",
        "a hiker discovers",
        "somebody forgot",
        "we come across",
    ),
    verbs=(
        ("rests", "rest"),
        ("is lying", "are lying"),
        ("has been left", "have been left"),
        ("waits", "wait"),
        ("turns up", "turn up"),
        ("is spread out", "are spread out"),
        ("stands out", "stand out"),
    ),
)

DOMAINS = {domain.name: domain for domain in (TOWN, NATURE)}
