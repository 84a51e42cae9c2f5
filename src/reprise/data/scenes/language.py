"""What is said of scenes: captions from a small grammar, true of the scene, in varied words.

A caption is a function of the scene and of a row of random numbers. Every garment, colour, size,
number, place, relation and background that it names is the scene's; it may leave some out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from reprise.data.scenes.domains import Domain
from reprise.data.scenes.world import LARGE, SMALL

NUMBERS = 48  # random numbers that one caption may use

# Names of each class, for one and for several; {} is where adjectives stand.
NOUNS = (
    (("{} t-shirt", "{} t-shirts"), ("{} tee", "{} tees"), ("{} tee shirt", "{} tee shirts")),
    (
        ("pair of {} trousers", "pairs of {} trousers"),
        ("pair of {} pants", "pairs of {} pants"),
        ("pair of {} slacks", "pairs of {} slacks"),
    ),
    (("{} pullover", "{} pullovers"), ("{} sweater", "{} sweaters"), ("{} jumper", "{} jumpers")),
    (("{} dress", "{} dresses"), ("{} gown", "{} gowns"), ("{} frock", "{} frocks")),
    (("{} coat", "{} coats"), ("{} jacket", "{} jackets"), ("{} overcoat", "{} overcoats")),
    (("{} sandal", "{} sandals"), ("{} strappy shoe", "{} strappy shoes")),
    (("{} shirt", "{} shirts"), ("{} blouse", "{} blouses")),
    (
        ("{} sneaker", "{} sneakers"),
        ("{} trainer", "{} trainers"),
        ("{} sports shoe", "{} sports shoes"),
    ),
    (("{} bag", "{} bags"), ("{} handbag", "{} handbags"), ("{} purse", "{} purses")),
    (("{} ankle boot", "{} ankle boots"), ("{} boot", "{} boots"), ("{} bootee", "{} bootees")),
)
# Looser names: each is true of several classes.
LOOSE = (
    (("{} shoe", "{} shoes"), (5, 7, 9)),
    (("{} top", "{} tops"), (0, 2, 6)),
    (("{} garment", "{} garments"), (0, 1, 2, 3, 4, 6)),
    (("piece of {} clothing", "pieces of {} clothing"), (0, 1, 2, 3, 4, 6)),
)
SIZE_WORDS = (
    ("small", "little", "tiny"),
    ("medium-sized", "mid-sized"),
    ("large", "big", "huge"),
)
COMPARED = {True: ("larger", "bigger"), False: ("smaller",)}  # is the second the larger one?
NUMBER_WORDS = {2: ("two", "a couple of"), 3: ("three", "a trio of")}
# How the same garments stand beside each other, by axis.
ARRANGED = {
    (2, 0): ("side by side", "next to each other"),
    (2, 1): ("one above the other", "stacked upright"),
    (3, 0): ("side by side", "in a row"),
    (3, 1): ("one above the other", "in a column"),
}
# What the first is to the second, by axis, and the same turned round.
BEFORE = {
    0: ("to the left of", "left of", "on the left side of"),
    1: ("above", "over", "higher up than"),
}
AFTER = {
    0: ("to the right of", "right of", "on the right side of"),
    1: ("below", "under", "lower down than"),
}
BESIDE = ("next to", "beside", "near", "close to", "together with")
ENDS = {0: ("on the left", "on the right"), 1: ("at the top", "at the bottom")}
ORDERED = {0: ("from left to right", "in a row"), 1: ("from top to bottom", "in a column")}
PLACES = (
    ("in the upper left corner", "at the top left"),
    ("at the top", "near the upper edge", "in the upper part"),
    ("in the upper right corner", "at the top right"),
    ("on the left", "near the left edge", "in the left half"),
    ("in the middle", "in the centre"),
    ("on the right", "near the right edge", "in the right half"),
    ("in the lower left corner", "at the bottom left"),
    ("at the bottom", "near the lower edge", "in the lower part"),
    ("in the lower right corner", "at the bottom right"),
)


@dataclass(frozen=True)
class Style:
    """A manner of speaking: what may be said before a plain statement, verbs, and after it.

    A bar parts what is said of one thing from what is said of several.
    """

    before: tuple[str, ...]
    verbs: tuple[tuple[str, str], ...]
    after: tuple[str, ...]


STYLES = {
    "poetic": Style(
        ("softly", "in silence", "like a dream", "lost in thought", "far from every noise", "o"),
        (
            ("dreams", "dream"),
            ("slumbers", "slumber"),
            ("glows", "glow"),
            ("whispers", "whisper"),
            ("lingers", "linger"),
        ),
        (
            "like a half forgotten song",
            "as gentle as the morning",
            "waiting for a love that never came",
            "while time stands still",
            "and the heart grows quiet",
            "like a memory of summer",
            "as if the moon had touched it|as if the moon had touched them",
            "where sorrow turns to light",
            "longing for a tender hand",
            "as the evening holds its breath",
        ),
    ),
    "humorous": Style(
        ("breaking news", "oh dear", "believe it or not", "no kidding", "surprise", "help"),
        (
            ("hides", "hide"),
            ("parties", "party"),
            ("snores", "snore"),
            ("loiters", "loiter"),
            ("poses", "pose"),
        ),
        (
            "and refuses to do the laundry|and refuse to do the laundry",
            "pretending to be a celebrity|pretending to be celebrities",
            "hoping that nobody brings an iron",
            "because monday was cancelled",
            "and still owes me lunch|and still owe me lunch",
            "waiting for a very stylish ghost",
            "after a wild night in the washing machine",
            "like a cat that stole the sausage|like cats that stole the sausage",
            "and demands a pay rise|and demand a pay rise",
            "while its owner runs around in underwear|while their owner runs around in underwear",
        ),
    ),
}

T = TypeVar("T")


class Chooser:
    """Choices by a row of numbers in [0, 1), each used once."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self._numbers = iter(numbers)

    def of(self, options: Sequence[T]) -> T:
        """Return one of the options, early ones more often: people have their usual words."""
        number = next(self._numbers)
        return options[int(number * number * len(options))]

    def chance(self, share: float) -> bool:
        """Return true in this share of all cases."""
        return next(self._numbers) < share


@dataclass(frozen=True)
class Said:
    """A statement without its background: who, whether that is several, and where they are."""

    who: str
    several: bool
    where: str


def caption(
    scene: dict[str, Any], domain: Domain, numbers: Sequence[float], style: str = ""
) -> str:
    """Return one caption of a scene (a row of `world.Scenes.rows`), lower case, with a period.

    ``style`` is "" for a plain one or a name of STYLES; ``numbers`` are NUMBERS of [0, 1).
    """
    choose = Chooser(numbers)
    said = _statement(scene, domain, choose)
    background = domain.backgrounds[scene["background"]].phrases
    where = choose.of(background)
    if style:
        shown = where if choose.chance(0.6) else ""
        words = _in_style(said, shown, STYLES[style], choose)
    else:
        # A lone garment of which nothing else is said would be said again and again.
        shown = where if choose.chance(0.85) or not said.where else ""
        words = _plainly(said, shown, domain, choose)
    return " ".join(words.split()).replace(" ,", ",") + "."


def _plainly(said: Said, background: str, domain: Domain, choose: Chooser) -> str:
    """Put a statement into one of the domain's sentences."""
    verb = _number(choose.of(domain.verbs), said.several)
    opener = _number(choose.of(domain.openers).split("|"), said.several)
    there = _number(choose.of(domain.there).split("|"), said.several)
    frame = choose.of(("open", "open", "verb", "verb", "first", "turned"))
    if frame == "verb" and (said.where or background):
        return f"{said.who} {verb} {said.where} {background}"
    if background and frame == "first":
        return f"{background} {there} {said.who} {said.where}"
    if background and frame == "turned":
        return f"{background} {verb} {said.who} {said.where}"
    return f"{opener} {said.who} {said.where} {background}"


def _in_style(said: Said, background: str, style: Style, choose: Chooser) -> str:
    """Put a statement between a style's phrases."""
    verb = _number(choose.of(style.verbs), said.several)
    before = choose.of(style.before) + "," if choose.chance(0.4) else ""
    after = _number(choose.of(style.after).split("|"), said.several)
    return f"{before} {said.who} {verb} {said.where} {background} , {after}"


def _number(pair: Sequence[str], several: bool) -> str:
    return pair[-1] if several else pair[0]


def _statement(scene: dict[str, Any], domain: Domain, choose: Chooser) -> Said:
    """Say what a scene shows and how it lies, leaving some of it out."""
    slots = [slot for slot in scene["entity"] if slot >= 0]
    entities = sorted(set(slots))
    if len(entities) == 1:
        return _alone(scene, domain, choose, len(slots))
    if len(entities) == 2:
        return _two(scene, domain, choose, (slots.count(0), slots.count(1)))
    return _three(scene, domain, choose)


def _alone(scene: dict[str, Any], domain: Domain, choose: Chooser, number: int) -> Said:
    """Say one entity, with its place or how its garments are arranged."""
    who = _phrase(scene, 0, number, domain, choose)
    options = PLACES[scene["place"]] if number == 1 else ARRANGED[number, scene["axis"]]
    where = choose.of(options)
    return Said(who, number > 1, where if choose.chance(0.75) else "")


def _two(scene: dict[str, Any], domain: Domain, choose: Chooser, numbers: tuple[int, int]) -> Said:
    """Say two entities and their relation, in either order."""
    axis, turned = scene["axis"], choose.chance(0.4)
    first, second = (1, 0) if turned else (0, 1)
    compared = choose.chance(0.2)
    relation = choose.of((AFTER if turned else BEFORE)[axis])
    kind = choose.of(("relation", "relation", "relation", "beside", "and", "ends"))
    bigger = _compare(scene, first, second, choose) if compared else ""
    who = _phrase(scene, first, numbers[first], domain, choose)
    whom = _phrase(scene, second, numbers[second], domain, choose, bigger)
    if kind == "and":
        return Said(f"{who} and {whom}", True, "")
    if kind == "ends":
        here, there = ENDS[axis][::-1] if turned else ENDS[axis]
        return Said(f"{who} {here} and {whom} {there}", True, "")
    if kind == "beside":
        relation = choose.of(BESIDE)
    return Said(who, numbers[first] > 1, f"{relation} {whom}")


def _compare(scene: dict[str, Any], first: int, second: int, choose: Chooser) -> str:
    """Return how the second entity's size compares with the first's, "" where they are alike."""
    sizes = scene["size"]
    if sizes[first] == sizes[second]:
        return ""
    return choose.of(COMPARED[sizes[second] > sizes[first]])


def _three(scene: dict[str, Any], domain: Domain, choose: Chooser) -> Said:
    """Say three entities in their order, or the middle one between the others."""
    order = choose.of(ORDERED[scene["axis"]])
    between, ordered = choose.chance(0.3), choose.chance(0.6)
    first, middle, last = (_phrase(scene, entity, 1, domain, choose) for entity in range(3))
    if between:
        return Said(middle, False, f"between {first} and {last}")
    return Said(f"{first}, {middle} and {last}", True, order if ordered else "")


def _phrase(
    scene: dict[str, Any],
    entity: int,
    number: int,
    domain: Domain,
    choose: Chooser,
    compared: str = "",
) -> str:
    """Return one entity in words: its number, size, colour and kind, or some of them."""
    size = compared or _size(scene["size"][entity], choose)
    colour = choose.of(domain.tints[scene["tint"][entity]].names)
    coloured, after = choose.chance(0.9), choose.chance(0.08)
    noun = _noun(scene["kind"][entity], choose)[number > 1]
    if after and coloured and number == 1:
        words = noun.format(size) + f" in {colour}"
    else:
        words = noun.format(f"{size} {colour}" if coloured else size)
    words = words.strip()
    if number > 1:
        return f"{choose.of(NUMBER_WORDS[number])} {words}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _size(size: int, choose: Chooser) -> str:
    """Return a word for a size, or none: what is of medium size is seldom said to be."""
    said = choose.chance(0.45 if size in (SMALL, LARGE) else 0.15)
    word = choose.of(SIZE_WORDS[size])
    return word if said else ""


def _noun(kind: int, choose: Chooser) -> tuple[str, str]:
    """Return a name of a class for one and for several, now and then a loose one."""
    loose = [names for names, kinds in LOOSE if kind in kinds]
    if loose and choose.chance(0.06):
        return choose.of(loose)
    return choose.of(NOUNS[kind])
