"""The claims ledger: what a paper says of its numbers, and whether the numbers here bear it out.

Written for docs/statistics.md's rules: fewer than three seeds never support a claim, a claim has a
verdict and a paper has none, and whether our numbers are the printed ones is another question.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reprise import agreement, effects, ledger, published, results, verdicts
from reprise.cells import Reading, is_count, read_cell
from reprise.config import Json
from reprise.effects import NotPositiveError, Part
from reprise.files import write_atomic
from reprise.intervals import over_few, over_seeds
from reprise.plan import ClaimsJob
from reprise.results import Measured
from reprise.settings.claims import Claim, Place
from reprise.verdicts import FEWEST_SEEDS, LEVEL, Array

SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
THIS_RUN, NOT_RUN, UNTESTED = "this run only", "not run", "not tested"
PRINTED_HOLDS, PRINTED_FAILS = "holds in print", "fails in print"
PRINTED = "printed"
SAME, OTHER, NOISE = "same way", "other way", "within noise"
SEEDS, IMAGES, ROUNDS = "seeds", "test images", "rounds of the benchmark"


def build(job: ClaimsJob) -> None:
    """Write claims.json and claims.md of a paper, each whole or not at all.

    Raises ResultError where an evaluation is damaged. What was not run is said at the claim.
    """
    made = assemble(job)
    json_file, markdown_file = job.outputs
    write_atomic(json_file, json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    write_atomic(markdown_file, ledger.render(made))


def load(path: Path) -> Json:
    """Read a ledger's JSON; raise ResultError where it is damaged."""
    return results.read_json(path, ("paper", "digest", "scale", "claims"))


def assemble(job: ClaimsJob) -> Json:
    """Return a paper's ledger as one JSON object, its claims in the order of the file."""
    scale, paper = job.project.scale, job.project.paper(job.slug)
    findings = [_examine(job, key, claim) for key, claim in job.claims.items()]
    _decide([one for one in findings if one.p is not None])
    told = {"scale": scale.scale, "about": scale.about, "result": scale.result}
    return {
        "paper": job.slug,
        "paper_title": paper.title,
        "arxiv": paper.arxiv,
        "digest": job.digest,
        "scale": told,
        "seeds": len(scale.seeds),
        "level": LEVEL,
        "tested": sum(one.p is not None for one in findings),
        "claims": [{**_as_json(one), "scale": told} for one in findings],
    }


@dataclass
class Finding:
    """A claim with the numbers found for it, and what they say."""

    key: str
    claim: Claim
    unit: str
    readings: Mapping[Place, Reading]
    seeds: Sequence[int] = ()
    parts: Sequence[Part] = ()
    intervals: Sequence[tuple[float, float] | None] = ()
    hangs_on: int = 0  # the part with the least evidence
    verdict: str = NOT_RUN
    direction: str | None = None
    p: float | None = None
    p_against: float | None = None
    p_holm: float | None = None
    p_against_holm: float | None = None
    smallest_detectable: float | None = None
    detectable_over: str | None = None  # whose noise it allows for
    against_print: Json | None = None
    basis: list[str] = field(default_factory=list)


def _examine(job: ClaimsJob, key: str, claim: Claim) -> Finding:
    """Read a claim's cells and say what can be said before the paper's tests are corrected."""
    places = claim.places()
    if not places:
        return Finding(key, claim, "", {}, verdict=UNTESTED, basis=[claim.untested])
    read = _read_printed if claim.printed else _read_ours
    readings = {place: read(job, place) for place in places}
    unit = effects.unit(claim, job.column(places[0]).unit)
    finding = Finding(key, claim, unit, readings)
    finding.basis = list(_absent(readings))
    _examine_cells(finding)
    finding.against_print = agreement.of_claim(
        job, claim, readings, finding.parts, finding.hangs_on
    )
    return finding


def _examine_cells(finding: Finding) -> None:
    """Fill in what the cells of a claim say, or at its basis why they say nothing."""
    if any(not reading.measured for reading in finding.readings.values()):
        return
    finding.seeds = _common_seeds(finding.readings)
    if not finding.seeds:
        finding.basis.append("no seed is common to all its cells")
        return
    try:
        _measure(finding)
    except NotPositiveError as error:
        finding.verdict = INCONCLUSIVE
        finding.basis.append(str(error))


def _read_ours(job: ClaimsJob, place: Place) -> Reading:
    return read_cell(job.table(place), job.row(place), place.column)


def _read_printed(job: ClaimsJob, place: Place) -> Reading:
    """Read what was printed in a cell, as a single number without noise."""
    numbers = published.of_table(job.project, job.slug, place.table)
    number = numbers.get((job.row(place).published or "", place.column))
    if number is None or number.value is None:
        return Reading("not printed")
    reading = Reading(PRINTED)
    statistics = np.array([number.value])
    reading.measured[0] = Measured(number.value, 1, (number.source, ""), "mean", statistics)
    return reading


def _measure(finding: Finding) -> None:
    """Fill in effects and intervals, and the verdict where no test of the paper decides it."""
    readings, seeds = finding.readings, finding.seeds
    finding.parts = effects.parts(finding.claim, _values(readings, seeds))
    slack = np.stack([part.slack for part in finding.parts])
    finding.hangs_on = verdicts.weakest(slack)
    if _exact(readings) or (_single(readings) and _agree(slack)):
        _decide_exactly(finding, slack)
    elif len(seeds) < FEWEST_SEEDS:
        finding.verdict = THIS_RUN
        _point(finding)
    else:
        finding.intervals = [over_seeds(part.effects) for part in finding.parts]
        finding.direction = _direction(finding.parts, finding.intervals)
        for_it, against_it = verdicts.p_values(slack)
        finding.p, finding.p_against = float(for_it), float(against_it)
        _explain_test(finding, slack)


def _absent(readings: Mapping[Place, Reading]) -> Iterator[str]:
    for place, reading in readings.items():
        if reading.missing or not reading.measured:
            yield f"{place.row}, {place.column}: {reading.status}"


def _exact(readings: Mapping[Place, Reading]) -> bool:
    return all(is_count(reading) for reading in readings.values())


def _single(readings: Mapping[Place, Reading]) -> bool:
    return all(m.n == 1 for reading in readings.values() for m in reading.measured.values())


def _agree(slack: Array) -> bool:
    return slack.shape[-1] >= FEWEST_SEEDS and bool(verdicts.constant(slack).all())


def _common_seeds(readings: Mapping[Place, Reading]) -> list[int]:
    """Return the seeds that all cells have; counts hold for every seed."""
    vary = [reading for reading in readings.values() if not is_count(reading)]
    seeds = [set(reading.measured) for reading in vary or readings.values()]
    return sorted(set.intersection(*seeds))


def _values(readings: Mapping[Place, Reading], seeds: Sequence[int]) -> dict[Place, Array]:
    """Return [seeds] values of every cell, the same seeds in the same order."""
    values = {}
    for place, reading in readings.items():
        any_seed = next(iter(reading.measured.values()))
        values[place] = np.array([reading.measured.get(seed, any_seed).value for seed in seeds])
    return values


def _decide_exactly(finding: Finding, slack: Array) -> None:
    """Decide by the numbers as they are; at the bound up to rounding counts as on it."""
    least = float(slack.mean(axis=-1).min())
    scale = max(abs(number) for part in finding.parts for number in (part.bound, *part.effects))
    on_bound = abs(least) <= 1e-9 * scale
    holds = effects.holds_on_bound(finding.claim) if on_bound else least > 0
    finding.verdict = SUPPORTED if holds else CONTRADICTED
    if finding.claim.printed:
        finding.verdict = PRINTED_HOLDS if holds else PRINTED_FAILS
    finding.direction = SAME if holds else OTHER
    means = [float(part.effects.mean()) for part in finding.parts]
    finding.intervals = [(mean, mean) for mean in means]
    if finding.claim.printed:
        finding.basis.insert(0, "asked of the printed numbers alone; nothing was run for it")
        finding.seeds, finding.intervals = (), [None] * len(means)
        return
    how = "counted" if _exact(finding.readings) else f"the same for all {len(finding.seeds)} seeds"
    finding.basis.insert(0, f"exact: {how}, without noise, so no test is needed")


def _point(finding: Finding) -> None:
    """Say where one or two seeds point, from a paired bootstrap where the cells pair."""
    seeds = f"{len(finding.seeds)} seed{'s' * (len(finding.seeds) > 1)}"
    n, kind = _paired_kind(finding.readings)
    finding.intervals = [None] * len(finding.parts)
    try:
        if not kind:
            basis = f"{seeds}; its cells do not pair measurement by measurement: noise not measured"
        elif kind == ROUNDS:
            finding.intervals = _over_rounds(finding)
            basis = f"one benchmark on one machine, {n} rounds; without the noise of another day"
        else:
            finding.intervals = _bootstrap(finding)
            basis = (
                f"{seeds}; paired bootstrap over {n:,} {kind}, without the noise of another seed"
            )
    except NotPositiveError as error:  # of a resample or a round, where the numbers themselves are
        basis = f"{seeds}; noise not measured: {error}"
    finding.direction = _direction(finding.parts, finding.intervals)
    finding.basis.insert(0, basis)
    finding.hangs_on = min(range(len(finding.parts)), key=lambda at: _least(finding, at))
    ends = finding.intervals[finding.hangs_on]
    if ends is not None:
        reach = verdicts.detectable_beside(ends, n if kind == ROUNDS else None)
        finding.smallest_detectable = effects.shown(finding.claim, reach)
        finding.detectable_over = kind


def _paired_kind(readings: Mapping[Place, Reading]) -> tuple[int, str]:
    """Return how many of what the cells share, image by image; of nothing where they do not."""
    measured = [m for reading in readings.values() for m in reading.measured.values()]
    made = [one for reading in readings.values() for one in reading.provenance]
    rows = {(m.data, m.n) for m in measured}
    if len(rows) > 1 or measured[0].n == 1 or len({one.get("benchmark") for one in made}) > 1:
        return 0, ""
    return measured[0].n, ROUNDS if "benchmark" in made[0] else IMAGES


def _bootstrap(finding: Finding) -> list[tuple[float, float] | None]:
    readings = finding.readings
    drawn = verdicts.replicates(
        [[reading.measured[seed] for seed in finding.seeds] for reading in readings.values()]
    )
    values = {place: drawn[:, index] for index, place in enumerate(readings)}
    return [verdicts.percentiles(part.effects) for part in effects.parts(finding.claim, values)]


def _over_rounds(finding: Finding) -> list[tuple[float, float] | None]:
    """Student's t over the effects of single rounds, which are too few to be resampled."""
    values = {
        place: np.asarray(next(iter(reading.measured.values())).statistics, np.float64)
        for place, reading in finding.readings.items()
    }
    rounds = effects.parts(finding.claim, values)
    return [
        over_few(part.effects, float(whole.effects.mean()))
        for part, whole in zip(rounds, finding.parts, strict=True)
    ]


def _least(finding: Finding, at: int) -> float:
    """Return the worst that a part's interval allows for the claim; without one, its slack."""
    part, interval = finding.parts[at], finding.intervals[at]
    return float(_slack(part, interval if interval else [part.effects.mean()]).min())


def _slack(part: Part, at: Sequence[float]) -> Array:
    """Return how far on the claimed side numbers lie."""
    return Part(part.label, np.array(at), part.bound, part.below).slack


def _direction(parts: Sequence[Part], found: Sequence[tuple[float, float] | None]) -> str:
    """Say where the intervals lie: all on the claimed side, one on the other, or neither."""
    sides = []
    for part, interval in zip(parts, found, strict=True):
        slack = _slack(part, interval if interval else [part.effects.mean()])
        sides.append(1 if (slack > 0).all() else -1 if (slack < 0).all() else 0)
    said = SAME if min(sides) == 1 else OTHER if min(sides) == -1 else NOISE
    return said if all(found) else f"{said}, noise not measured"


def _explain_test(finding: Finding, slack: Array) -> None:
    basis = f"paired one-sided t over {len(finding.seeds)} seeds"
    if len(slack) > 1:
        basis += f", the weakest of {len(slack)} inequalities"
    finding.basis.insert(0, basis)
    if verdicts.constant(slack).any():
        finding.basis.append("an effect is equal for all seeds: no spread to test against")


def _decide(tested: Sequence[Finding]) -> None:
    """Correct the tests of a paper for their number, each direction by itself, and decide."""
    for_it = verdicts.holm([one.p for one in tested if one.p is not None])
    against = verdicts.holm([one.p_against for one in tested if one.p_against is not None])
    for finding, p_holm, p_against_holm in zip(tested, for_it, against, strict=True):
        finding.p_holm, finding.p_against_holm = p_holm, p_against_holm
        finding.basis.insert(1, f"Holm over the paper's {len(tested)} tests")
        if p_holm <= LEVEL:
            finding.verdict = SUPPORTED
        elif p_against_holm <= LEVEL:
            finding.verdict = CONTRADICTED
        else:
            finding.verdict = INCONCLUSIVE
    for finding in tested:
        others = sum(one.verdict != SUPPORTED for one in tested if one is not finding)
        _tell_reach(finding, LEVEL / (others + 1))


def _tell_reach(finding: Finding, level: float) -> None:
    """Print what so many seeds could have found at the level that Holm left for this claim."""
    part = finding.parts[finding.hangs_on]
    if verdicts.constant(part.slack):
        return
    reach = verdicts.smallest_detectable(part.effects, level)
    finding.smallest_detectable = effects.shown(finding.claim, reach)
    finding.detectable_over = SEEDS


def _as_json(finding: Finding) -> Json:
    claim = finding.claim
    both = zip(finding.parts, finding.intervals, strict=True)
    shown = [_part(claim, part, interval) for part, interval in both]
    least: Mapping[str, Any] = shown[finding.hangs_on] if shown else {}
    counts = {m.n for reading in finding.readings.values() for m in reading.measured.values()}
    return {
        "id": finding.key,
        "statement": claim.statement,
        "source": claim.source,
        "confidence": claim.confidence,
        "note": claim.note,
        "kind": claim.test.kind if claim.test else None,
        "asks": effects.asks(claim),
        "margin": claim.margin,
        "verdict": finding.verdict,
        "direction": finding.direction,
        "effect": least.get("effect"),
        "effect_of": least.get("label"),
        "interval": least.get("interval"),
        "bound": least.get("asked"),
        "unit": finding.unit,
        "parts": shown,
        "p": finding.p,
        "p_holm": finding.p_holm,
        "p_against": finding.p_against,
        "p_against_holm": finding.p_against_holm,
        "smallest_detectable": finding.smallest_detectable,
        "detectable_over": finding.detectable_over,
        "against_print": finding.against_print,
        "seeds": list(finding.seeds),
        "n": counts.pop() if len(counts) == 1 else None,
        "cells": [_cell(place, reading) for place, reading in finding.readings.items()],
        "basis": "; ".join(finding.basis),
    }


def _part(claim: Claim, part: Part, found: tuple[float, float] | None) -> Json:
    return {
        "label": part.label,
        "effect": effects.shown(claim, float(part.effects.mean())),
        "interval": [effects.shown(claim, end) for end in found] if found else None,
        "bound": effects.shown(claim, part.bound),
        "below": part.below,
        "asked": effects.asked(claim, part),
        "per_seed": [effects.shown(claim, effect) for effect in part.effects],
    }


def _cell(place: Place, reading: Reading) -> Json:
    return {
        **place._asdict(),
        "values": {str(seed): measured.value for seed, measured in reading.measured.items()},
        "n": next((measured.n for measured in reading.measured.values()), None),
        "status": reading.status,
        "runs": reading.provenance,
    }
