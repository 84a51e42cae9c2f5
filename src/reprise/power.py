"""How often a verdict is wrong where nothing is there, and how often right where something is.

By simulation, with the tests and corrections that the ledger itself uses: made-up cells whose truth
is known, whose seeds differ by as much as an effect differs from seed to seed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reprise import effects, verdicts
from reprise.effects import Array
from reprise.settings.claims import Claim, Place

# Every kind, with means of its cells at which it is false by nothing: at the edge of what it asks,
# where it is most often supported by luck.
_EDGES: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "greater": ({"better": "A", "worse": ["B", "C"]}, {"A": 50, "B": 50, "C": 20}),
    "not_worse": ({"cells": "A", "than": "B"}, {"A": 47, "B": 50}),
    "within": ({"a": "A", "b": "B"}, {"A": 47, "B": 50}),
    "monotone": (
        {"cells": ["B", "A", "C"], "direction": "increasing"},
        {"B": 50, "A": 50, "C": 80},
    ),
    "interior_maximum": ({"cells": ["B", "A", "C"], "peak": "A"}, {"A": 50, "B": 50, "C": 20}),
    "ratio_at_least": ({"a": "A", "b": "B", "bound": 2}, {"A": 100, "B": 50}),
    "difference_of_differences": (
        {"a": "A", "b": "B", "c": "C", "d": "D"},
        {"A": 50, "B": 45, "C": 40, "D": 35},
    ),
    "growth_exponent_below": (
        {"cells": ["B", "A"], "x": [1, 2], "bound": 1},
        {"A": 100, "B": 50},
    ),
}
_MARGINS = {"not_worse": 3.0, "within": 3.0}
KINDS = tuple(_EDGES)
_TABLE = "table"


@dataclass(frozen=True)
class Rates:
    """Shares of repetitions, of claims whose true effect is ``effect`` (in deviations of one)."""

    effect: float
    supported: float  # of a single claim, tested alone
    contradicted: float
    supported_of_many: float  # of a claim among others, corrected for their number
    any_supported: float  # of a paper: at least one claim
    any_contradicted: float


def at_the_edge(kind: str, seeds: int, repetitions: int, seed: int = 0) -> tuple[float, float]:
    """Return how often a claim of a kind that is false by nothing is supported, and contradicted.

    Cells have a noise of deviation 0.7 of their own, so that differences of two have about 1, and
    one that all cells of a seed share; ratios the same in percent.
    """
    test, means = _EDGES[kind]
    generator = np.random.default_rng([seed, KINDS.index(kind)])
    shape = (repetitions, seeds)
    shared = generator.normal(0, 2, shape)
    values = {
        Place(_TABLE, row, "c"): mean * (1 + (shared + generator.normal(0, 0.7, shape)) / 100)
        if kind in ("ratio_at_least", "growth_exponent_below")
        else mean + shared + generator.normal(0, 0.7, shape)
        for row, mean in means.items()
    }
    for_it, against = _p_values(_claim(kind, test), values)
    return float((for_it <= verdicts.LEVEL).mean()), float((against <= verdicts.LEVEL).mean())


def _claim(kind: str, test: Mapping[str, Any]) -> Claim:
    return Claim.model_validate(
        {
            "statement": "made up",
            "source": "none",
            "table": _TABLE,
            "column": "c",
            "margin": _MARGINS.get(kind, 0.0),
            "test": {"kind": kind, **test},
        }
    )


def _p_values(claim: Claim, values: effects.Values) -> tuple[Array, Array]:
    """Return p-values [repetitions] for and against, of values [repetitions, seeds]."""
    slack = np.stack([part.slack for part in effects.parts(claim, values)], axis=1)
    return verdicts.p_values(slack)


def of_a_paper(effect: float, claims: int, seeds: int, repetitions: int, seed: int = 0) -> Rates:
    """Return how often a paper's claims, all with one true effect, fall which way.

    Each is a difference of two cells above 0 whose effects have deviation 1 from seed to seed.
    """
    generator = np.random.default_rng(seed)
    slack = generator.normal(effect, 1, (repetitions, claims, 1, seeds))
    for_it, against = verdicts.p_values(slack)
    supported = holm_of_many(for_it) <= verdicts.LEVEL
    contradicted = holm_of_many(against) <= verdicts.LEVEL
    return Rates(
        effect,
        float((for_it <= verdicts.LEVEL).mean()),
        float((against <= verdicts.LEVEL).mean()),
        float(supported.mean()),
        float(supported.any(axis=1).mean()),
        float(contradicted.any(axis=1).mean()),
    )


def holm_of_many(p: Array) -> Array:
    """Return p-values [repetitions, claims] corrected as `verdicts.holm` does, repetition by one.

    The library's takes half a millisecond for each.
    """
    order, count = p.argsort(axis=-1), p.shape[-1]
    stepped = np.take_along_axis(p, order, -1) * np.arange(count, 0, -1)
    stepped = np.minimum(1, np.maximum.accumulate(stepped, axis=-1))
    corrected: Array = np.take_along_axis(stepped, order.argsort(axis=-1), -1)
    return corrected


def report(claims: int, seeds: int, repetitions: int) -> Iterator[str]:
    """Yield Markdown lines: false verdicts of every kind at its edge, and power by effect."""
    yield f"{seeds} seeds, {repetitions:,} repetitions, level {verdicts.LEVEL:g}"
    yield ""
    yield "| kind, at the edge of what it asks | supported | contradicted |"
    yield "|---|---:|---:|"
    for kind in KINDS:
        wrong, right = at_the_edge(kind, seeds, repetitions)
        yield f"| {kind} | {wrong:.1%} | {right:.1%} |"
    yield ""
    yield (
        f"| true effect of {claims} claims, deviations | supported, alone | contradicted, alone | "
        "supported after Holm | any supported | any contradicted |"
    )
    yield "|---:|" + "---:|" * 5
    for effect in (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0):
        found = of_a_paper(effect, claims, seeds, repetitions)
        shares = (
            found.supported,
            found.contradicted,
            found.supported_of_many,
            found.any_supported,
            found.any_contradicted,
        )
        yield f"| {effect:g} | " + " | ".join(f"{share:.1%}" for share in shares) + " |"
