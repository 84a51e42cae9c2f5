"""Sets a number of ours beside the printed one where both are of the same scale, and only there.

Apart from any verdict: a claim can hold here though the numbers differ, and fail though they agree.
docs/statistics.md says in plain words when numbers are of the same scale, and how close is close.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal

import numpy as np
from scipy import stats

from reprise import effects, intervals, published
from reprise.cells import Reading, is_count
from reprise.config import Json, Row
from reprise.effects import NotPositiveError, Part
from reprise.markdown import number, precise
from reprise.plan import ClaimsJob, TableJob, resized, split_run
from reprise.published import Published
from reprise.settings.claims import Claim, Place

AGREES, DIFFERS = "agrees", "differs"
OTHER_SCALE, NO_SPREAD, NOTHING = "different scale", "spread not known", "not run here"
COUNT, NO_DATA = "none (a count)", "none ("  # how the CSV's column `dataset` begins


@dataclass(frozen=True)
class Comparison:
    """A printed number beside ours; ``difference`` (ours less printed) only of the same scale.

    ``tolerance`` is how far apart two numbers of one truth may lie; None where it is not known.
    """

    word: str
    printed: float
    why: str = ""
    difference: float | None = None
    tolerance: float | None = None


def of_cell(
    job: TableJob, row: Row, column: str, reading: Reading, numbers: published.Cells
) -> Json | None:
    """Compare a table's cell with its printed number; None where either is missing."""
    printed = _number(numbers, row, column)
    if printed is None or printed.value is None or not reading.measured:
        return None
    other = scale_differs(job, row, column, reading, printed)
    ours = np.array([measured.value for measured in reading.measured.values()])
    spread = _spread(ours, _without_noise(job, row, column, reading))
    return asdict(_compare(ours, printed.value, _rounding(printed), spread, other))


def of_claim(
    job: ClaimsJob,
    claim: Claim,
    readings: Mapping[Place, Reading],
    parts: Sequence[Part],
    hangs_on: int,
) -> Json | None:
    """Compare a claim's effect with that of the printed numbers; None where one is not printed.

    ``parts`` are those of our numbers, empty where there are none, and ``hangs_on`` is the part
    that is shown: of a claim that was not run, the first.
    """
    if claim.printed or not claim.beside_print:
        return None
    numbers = {place: _printed_in(job, place) for place in readings}
    effect, moved = _printed_effect(claim, numbers, hangs_on)
    if not np.isfinite(effect):
        return None
    if not parts:
        return asdict(Comparison(NOTHING, effects.shown(claim, effect)))
    differing, exact = dict[str, None](), True
    for place in moved:
        number_there = numbers[place]
        assert number_there is not None
        cell = (job.table(place), job.row(place), place.column, readings[place])
        differing[scale_differs(*cell, number_there)] = None
        exact = exact and _without_noise(*cell)
    ours = parts[hangs_on].effects
    other = "; ".join(filter(None, differing))
    made = _compare(ours, effect, sum(moved.values()), _spread(ours, exact), other)
    return asdict(_as_shown(claim, made))


def _printed_in(job: ClaimsJob, place: Place) -> Published | None:
    numbers = published.of_table(job.project, job.slug, place.table)
    return _number(numbers, job.row(place), place.column)


def said(comparison: Json | None, unit: str) -> str:
    """Return the printed effect of a claim and how ours compares, for people."""
    if comparison is None:
        return ""
    form, word = "%" if unit == "points" else unit, str(comparison["word"])
    printed = f"{number(comparison['printed'], form, sign=unit not in ('x', ''))} {unit}".strip()
    if comparison["difference"] is None:
        return f"{printed}: {word}"
    details = f"difference {precise(comparison['difference'], sign=True)}"
    if comparison["tolerance"] is not None:
        details += f", tolerance {precise(comparison['tolerance'])}"
    return f"{printed}: {word} ({details})"


def scale_differs(
    job: TableJob, row: Row, column: str, reading: Reading, printed: Published
) -> str:
    """Say why a cell's number and the printed one are of different scales; empty if they are not.

    A count (parameters, multiply-adds) is of the paper's scale where this scale leaves the model as
    the paper has it. A score is where the model is the paper's (released weights, or a scale that
    says `as_printed`) and the data set says that it is what was printed (`printed_as`). Timings and
    memory belong to a machine.
    """
    project, scale = job.project, job.project.scale
    assert row.run is not None
    slug, name = split_run(job.slug, row.runs.get(column, row.run))
    if printed.dataset.startswith(COUNT) and is_count(reading):
        other_size = not scale.as_printed and name in resized(project, slug)
        return f"{name} has another size at scale {scale.scale}" if other_size else ""
    if printed.dataset.startswith(NO_DATA):
        return "measured on another machine"
    run = project.run(slug, name)
    if run.kind != "official" and not scale.as_printed:
        return f"trained at scale {scale.scale}"
    evaluator = row.evaluators.get(column, job.table.metrics[column].evaluator)
    alias = run.data if evaluator is None else project.paper(slug).evaluators[evaluator].data
    if printed.dataset not in (project.dataset(alias).printed_as or ()):
        return f"the data set `{alias}` of scale {scale.scale} is not known to be {printed.dataset}"
    return ""


def _number(numbers: published.Cells, row: Row, column: str) -> Published | None:
    return numbers.get((row.published or "", column))


def _without_noise(job: TableJob, row: Row, column: str, reading: Reading) -> bool:
    """Say whether another seed could not move a number: a count, or one of released weights."""
    assert row.run is not None
    run = job.project.run(*split_run(job.slug, row.runs.get(column, row.run)))
    return is_count(reading) or run.kind == "official"


def _rounding(printed: Published) -> float:
    """Return half a unit of the last printed digit, in the number's unit."""
    exponent = Decimal(printed.text).as_tuple().exponent
    return 0.5 * 10.0**exponent if isinstance(exponent, int) else 0.0


def _spread(ours: effects.Array, exact: bool) -> float | None:
    """Return how far from the mean of ours one more run would fall, in 95 of 100 cases.

    ``ours`` is [seeds]; None where fewer than three of them measure no spread.
    """
    if exact:
        return 0.0
    if len(ours) < intervals.FEWEST_SEEDS_FOR_T:
        return None
    reach = stats.t.ppf(0.5 + intervals.LEVEL / 2, len(ours) - 1)
    return float(reach * ours.std(ddof=1) * np.sqrt(1 + 1 / len(ours)))


def _compare(
    ours: effects.Array, printed: float, rounding: float, spread: float | None, other: str
) -> Comparison:
    if other:
        return Comparison(OTHER_SCALE, printed, other)
    difference = float(ours.mean()) - printed
    if spread is None:
        why = f"fewer than {intervals.FEWEST_SEEDS_FOR_T} seeds"
        return Comparison(NO_SPREAD, printed, why, difference)
    tolerance = rounding + spread
    # Rounding in the difference itself must not tip the scale.
    word = AGREES if abs(difference) <= tolerance * (1 + 1e-9) + 1e-12 else DIFFERS
    return Comparison(word, printed, "", difference, tolerance)


def _printed_effect(
    claim: Claim, numbers: Mapping[Place, Published | None], hangs_on: int
) -> tuple[float, dict[Place, float]]:
    """Return the effect of the printed numbers, and how far rounding of each may have moved it.

    Only the cells that the effect is made of are in the second; the effect is not a number where
    one of them was not printed, or where it would need the logarithm of a number not above zero.
    """
    values = {
        place: np.array([np.nan if one is None or one.value is None else one.value])
        for place, one in numbers.items()
    }

    def effect(moved: Mapping[Place, effects.Array]) -> float:
        return float(effects.parts(claim, {**values, **moved})[hangs_on].effects[0])

    try:
        exact = effect({})
    except NotPositiveError:
        return float("nan"), {}
    moves = {
        place: abs(effect({place: values[place] + _rounding(one)}) - exact)
        for place, one in numbers.items()
        if one is not None
    }
    return exact, {place: move for place, move in moves.items() if move > 0}


def _as_shown(claim: Claim, made: Comparison) -> Comparison:
    """Return a comparison of logarithms as one of ratios: difference and tolerance are of those."""
    if not effects.is_log(claim):
        return made
    printed = effects.shown(claim, made.printed)
    if made.difference is None:
        return replace(made, printed=printed)
    # Small differences of logarithms are relative ones.
    ours = printed * np.exp(made.difference)
    tolerance = None if made.tolerance is None else printed * np.expm1(made.tolerance)
    return replace(made, printed=printed, difference=float(ours - printed), tolerance=tolerance)
