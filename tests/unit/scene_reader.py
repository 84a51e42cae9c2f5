"""Reads captions of scenes: knows words, looks at boxes, and nothing of how captions are made."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from typing import Any

from torch import Tensor

from reprise.data.scenes import language
from reprise.data.scenes.domains import Domain
from reprise.data.scenes.world import SLOTS

SIZE = 48  # side of the scenes, pixels
# Sides of what may be called small, medium-sized and large.
SIDES = (range(13, 17), range(20, 25), range(27, 40))


@dataclass
class Mention:
    """A noun, with what is said of it."""

    kinds: set[int] = field(default_factory=set)
    tints: set[int] = field(default_factory=set)
    size: int = -1
    number: int = 1
    compared: int = 0


@dataclass
class Parsed:
    """What a caption says."""

    mentions: list[Mention] = field(default_factory=list)
    # (kind of statement, what it says, mentions before it)
    stated: list[tuple[str, Any, int]] = field(default_factory=list)


Lexicon = dict[tuple[str, ...], tuple[str, Any]]


def _entries(domain: Domain) -> Iterator[tuple[str, Any, Iterable[str]]]:
    """Yield (what, value, the words for it) of all that captions of a domain may say."""
    for kind, nouns in enumerate(language.NOUNS):
        yield "noun", kind, [name.split("{}")[1] for names in nouns for name in names]
    for names, kinds in language.LOOSE:
        for kind in kinds:
            yield "noun", kind, [name.split("{}")[1] for name in names]
    for number, tint in enumerate(domain.tints):
        yield "tint", number, tint.names
        yield "in", number, [f"in {name}" for name in tint.names]
    for number, background in enumerate(domain.backgrounds):
        yield "background", number, background.phrases
    yield from (("size", size, words) for size, words in enumerate(language.SIZE_WORDS))
    yield from (("number", number, words) for number, words in language.NUMBER_WORDS.items())
    yield from (("compared", 1 if up else -1, words) for up, words in language.COMPARED.items())
    yield from (("line", axis, words) for (_, axis), words in language.ARRANGED.items())
    yield from (("line", axis, words) for axis, words in language.ORDERED.items())
    for sign, table in ((1, language.BEFORE), (-1, language.AFTER)):
        yield from (("relation", (axis, sign), words) for axis, words in table.items())
    yield from (("place", place, words) for place, words in enumerate(language.PLACES))
    yield "between", 0, ["between"]


def lexicon_of(domain: Domain) -> Lexicon:
    """Return what each string of words means; AssertionError where that is not clear."""
    found: Lexicon = {}
    for what, value, phrases in _entries(domain):
        for phrase in phrases:
            known = found.setdefault(tuple(phrase.split()), (what, set()))
            assert known[0] == what, phrase
            known[1].add(value)
    return found


def parse(caption: str, lexicon: Lexicon) -> Parsed:
    """Read a caption from left to right, the longest known string of words first."""
    words, longest = caption.rstrip(".").replace(",", "").split(), max(map(len, lexicon))
    parsed, mention, at = Parsed(), Mention(), 0
    while at < len(words):
        for length in range(longest, 0, -1):
            what, value = lexicon.get(tuple(words[at : at + length]), ("", set()))
            if what:
                break
        one = min(value) if value else None
        if what == "noun":
            mention.kinds = value
            parsed.mentions.append(mention)
            mention = Mention()
        elif what == "tint":
            mention.tints = value
        elif what == "in":
            parsed.mentions[-1].tints = value
        elif what in ("size", "number", "compared"):
            setattr(mention, what, one)
        elif what:
            parsed.stated.append((what, value, len(parsed.mentions)))
        at += length
    return parsed


@dataclass
class Shown:
    """An entity as it is in the scene: its centre is that of its boxes."""

    kind: int
    tint: int
    size: int
    sides: list[int]
    centres: list[tuple[float, float]]

    @property
    def centre(self) -> tuple[float, float]:
        xs, ys = zip(*self.centres, strict=True)
        return sum(xs) / len(xs), sum(ys) / len(ys)


def shown_in(row: dict[str, Any], boxes: Tensor) -> list[Shown]:
    """Return the entities of a scene (a row of `Scenes.rows`) whose boxes are int16 [3, 5]."""
    entities = []
    for number in range(max(row["entity"]) + 1):
        slots = [slot for slot in range(SLOTS) if row["entity"][slot] == number]
        corners = [boxes[slot].tolist() for slot in slots]
        assert all(corner[0] == row["kind"][number] for corner in corners)
        centres = [((x0 + x1) / 2, (y0 + y1) / 2) for _, x0, y0, x1, y1 in corners]
        sides = [row["side"][slot] for slot in slots]
        values = (row[name][number] for name in ("kind", "tint", "size"))
        entities.append(Shown(*values, sides, centres))
    return entities


def fits(mention: Mention, entity: Shown) -> bool:
    """Say whether a mention's own words are true of an entity."""
    return (
        entity.kind in mention.kinds
        and (not mention.tints or entity.tint in mention.tints)
        and (mention.size < 0 or all(side in SIDES[mention.size] for side in entity.sides))
        and mention.number == len(entity.centres)
    )


def in_place(value: float, third: int) -> bool:
    return (value < 0.42 * SIZE, 0.42 * SIZE < value < 0.58 * SIZE, value > 0.58 * SIZE)[third]


def holds(what: str, values: set[Any], before: int, told: list[Shown], row: dict[str, Any]) -> bool:
    """Say whether a statement is true of entities in the order in which they were mentioned."""
    one = min(values)
    if what == "background":
        return row["background"] in values
    if what == "relation":
        axis, sign = one
        return (
            before < len(told)
            and (told[before].centre[axis] - told[before - 1].centre[axis]) * sign > 5
        )
    if what == "between":
        first, middle, last = (told[order].centre[row["axis"]] for order in (1, 0, 2))
        return first < middle < last
    if what == "line":
        centres = [centre for entity in told for centre in entity.centres]
        return all(b[axis] - a[axis] > 5 for a, b in pairwise(centres) for axis in values)
    assert what == "place"
    x, y = told[before - 1].centre
    if len(told) == 1:
        return any(in_place(x, p % 3) and in_place(y, p // 3) for p in values)
    other = told[2 - before].centre  # "one on the left and the other on the right"
    step = {1: (0, -1), 7: (0, 1), 3: (-1, 0), 5: (1, 0)}[one]
    return (x - other[0]) * step[0] + (y - other[1]) * step[1] > 5


def _compares(mentions: list[Mention], told: list[Shown]) -> bool:
    """Say whether each that is called larger or smaller than the one before it is."""
    for at, mention in enumerate(mentions):
        if mention.compared > 0 and min(told[at].sides) <= max(told[at - 1].sides):
            return False
        if mention.compared < 0 and max(told[at].sides) >= min(told[at - 1].sides):
            return False
    return True


def is_true(parsed: Parsed, row: dict[str, Any], entities: list[Shown]) -> bool:
    """Say whether the entities, in some order, are what a caption says."""
    return any(
        all(map(fits, parsed.mentions, told))
        and _compares(parsed.mentions, list(told))
        and all(holds(*stated, list(told), row) for stated in parsed.stated)
        for told in permutations(entities, len(parsed.mentions))
    )
