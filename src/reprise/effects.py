"""What a claim compares, as inequalities: one effect per seed against a bound.

Every kind of test is a list of parts that must all hold. The same arithmetic serves seeds and
bootstrap replicates, which both are axes of the values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise.settings.claims import (
    Cell,
    Claim,
    DifferenceOfDifferences,
    Greater,
    GrowthExponentBelow,
    InteriorMaximum,
    Monotone,
    NotWorse,
    Place,
    RatioAtLeast,
    Within,
)

Array = NDArray[np.float64]
Values = Mapping[Place, Array]


class NotPositiveError(ValueError):
    """A value that is not above zero has no logarithm, which the test needs."""


@dataclass(frozen=True)
class Part:
    """One inequality: ``effects`` must lie above ``bound``, or below it where ``below``.

    ``effects`` has the shape of the values: [seeds] or [replicates, seeds]. Its unit is the
    column's (a difference), none (an exponent), or the natural logarithm of a ratio.
    """

    label: str
    effects: Array
    bound: float
    below: bool = False

    @property
    def slack(self) -> Array:
        """How far each effect lies on the side that the claim needs; below 0: on the other."""
        distance = self.effects - self.bound
        return -distance if self.below else distance


def parts(claim: Claim, values: Values) -> list[Part]:
    """Return the inequalities that a claim consists of.

    ``values`` holds an array for each of the claim's places, all of one shape. Raises
    NotPositiveError where a ratio or an exponent meets a value that is not above zero.
    """
    if claim.test is None:
        return []
    made: list[Part] = _KINDS[type(claim.test)](claim, claim.test, values)
    return made


def is_log(claim: Claim) -> bool:
    """Say whether a claim's effects are logarithms of a ratio."""
    return isinstance(claim.test, RatioAtLeast)


def holds_on_bound(claim: Claim) -> bool:
    """Say whether a claim holds where an effect lies on its bound."""
    return isinstance(claim.test, RatioAtLeast | NotWorse)


def shown(claim: Claim, effect: float) -> float:
    """Return an effect as people read it: a ratio itself instead of its logarithm."""
    return float(np.exp(effect)) if is_log(claim) else float(effect)


def unit(claim: Claim, column_unit: str) -> str:
    """Return the unit of a claim's shown effect."""
    if is_log(claim):
        return "x"
    if isinstance(claim.test, GrowthExponentBelow):
        return ""
    return "points" if column_unit == "%" else column_unit


def asks(claim: Claim) -> str:
    """Return the claim's inequalities in one line, as they are tested."""
    values = {place: np.ones(1) for place in claim.places()}
    return "; ".join(f"{part.label} {asked(claim, part)}" for part in parts(claim, values))


def asked(claim: Claim, part: Part) -> str:
    """Return what a part's effect must be, such as '> 0' or '>= 1.4'."""
    sign = "<" if part.below else ">=" if holds_on_bound(claim) else ">"
    return f"{sign} {shown(claim, part.bound):g}"


def _name(claim: Claim, place: Place) -> str:
    """Return a cell's name: its row, with column and table where they are not the claim's."""
    where = [
        name
        for name, known in ((place.column, claim.column), (place.table, claim.table))
        if name != known
    ]
    return f"[{place.row} ({', '.join(where)})]" if where else f"[{place.row}]"


def _minus(claim: Claim, values: Values, a: Cell, b: Cell, bound: float | None = None) -> Part:
    """The difference of two cells, above a bound: the claim's margin where none is given."""
    one, other = claim.place(a), claim.place(b)
    label = f"{_name(claim, one)} - {_name(claim, other)}"
    return Part(label, values[one] - values[other], claim.margin if bound is None else bound)


def _greater(claim: Claim, test: Greater, values: Values) -> list[Part]:
    pairs = [(test.better, worse) for worse in test.worse]
    if test.lower_is_better:
        pairs = [(worse, better) for better, worse in pairs]
    return [_minus(claim, values, *pair) for pair in pairs]


def _not_worse(claim: Claim, test: NotWorse, values: Values) -> list[Part]:
    pairs = [(cell, than) for cell in test.cells for than in test.than]
    if test.lower_is_better:
        pairs = [(than, cell) for cell, than in pairs]
    # Not -0.0, which would be shown as such.
    return [_minus(claim, values, *pair, bound=0.0 - claim.margin) for pair in pairs]


def _within(claim: Claim, test: Within, values: Values) -> list[Part]:
    above = _minus(claim, values, test.a, test.b)
    return [
        Part(above.label, above.effects, claim.margin, below=True),
        Part(above.label, above.effects, -claim.margin),
    ]


def _monotone(claim: Claim, test: Monotone, values: Values) -> list[Part]:
    cells = test.cells if test.direction == "increasing" else test.cells[::-1]
    return [_minus(claim, values, after, before) for before, after in pairwise(cells)]


def _interior_maximum(claim: Claim, test: InteriorMaximum, values: Values) -> list[Part]:
    ends = (test.cells[0], test.cells[-1])
    return [_minus(claim, values, test.peak, end) for end in ends]


def _ratio_at_least(claim: Claim, test: RatioAtLeast, values: Values) -> list[Part]:
    a, others = claim.place(test.a), [claim.place(cell) for cell in test.b]
    return [
        Part(
            f"{_name(claim, a)} / {_name(claim, b)}",
            _log(a, values) - _log(b, values),
            float(np.log(test.bound)),
        )
        for b in others
    ]


def _difference_of_differences(
    claim: Claim, test: DifferenceOfDifferences, values: Values
) -> list[Part]:
    one = _minus(claim, values, test.a, test.b)
    other = _minus(claim, values, test.c, test.d)
    label = f"({one.label}) - ({other.label})"
    return [Part(label, one.effects - other.effects, claim.margin)]


def _growth_exponent_below(claim: Claim, test: GrowthExponentBelow, values: Values) -> list[Part]:
    """The least-squares slope over the cells, for each seed by itself."""
    places = [claim.place(cell) for cell in test.cells]
    y = np.stack([_log(place, values) for place in places], axis=-1)
    x = np.log(test.x) - np.log(test.x).mean()
    names = ", ".join(_name(claim, place) for place in places)
    return [Part(f"growth exponent of {names}", y @ x / (x @ x), test.bound, below=True)]


def _log(place: Place, values: Values) -> Array:
    if (values[place] <= 0).any():
        raise NotPositiveError(f"{place.row} is not above zero and has no logarithm")
    return np.log(values[place])


_KINDS: dict[type, Callable[[Claim, Any, Values], list[Part]]] = {
    Greater: _greater,
    NotWorse: _not_worse,
    Within: _within,
    Monotone: _monotone,
    InteriorMaximum: _interior_maximum,
    RatioAtLeast: _ratio_at_least,
    DifferenceOfDifferences: _difference_of_differences,
    GrowthExponentBelow: _growth_exponent_below,
}
