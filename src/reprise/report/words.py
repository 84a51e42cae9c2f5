"""What the page, report.md and the terminal say in the same words."""

from collections.abc import Iterable

from reprise.config import Scale
from reprise.report.summary import Cost, Count, Summary


def duration(seconds: float) -> str:
    """Return seconds for people: '4.2 s', '3 min 20 s', '2 h 5 min'."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def minutes(seconds: float) -> str:
    """Return seconds as minutes: '0.4', '42', '1,340'."""
    value = seconds / 60
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def count(number: int, noun: str) -> str:
    """Return '1 seed', '2 seeds', '1,000 seeds'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def scale(shown: Scale) -> str:
    """Return which scale this is, with its seeds."""
    return f"{shown.about}; {count(len(shown.seeds), 'seed')}"


def built(shown: Summary) -> str:
    """Return what was run."""
    return (
        f"{count(shown.runs, 'run')}, {shown.trained} of them trained; "
        f"{count(shown.evaluations, 'evaluation')}; {count(shown.benchmarks, 'benchmark')}; "
        f"{shown.tables} of {count(shown.of_tables, 'table')} built"
    )


def cost(shown: Cost) -> str:
    """Return what it cost: minutes of jobs, of what, and core-minutes."""
    parts = [
        f"{duration(shown.training)} of training",
        f"{duration(shown.evaluation)} of evaluation",
    ]
    if shown.measuring:
        parts.append(f"{duration(shown.measuring)} set for benchmarks")
    return (
        f"{minutes(shown.seconds)} minutes of jobs ({', '.join(parts)}), "
        f"{minutes(shown.core_seconds)} core-minutes"
    )


def counts(shown: Iterable[Count]) -> str:
    """Return how many claims fell each way."""
    return ", ".join(f"{one.number} {one.label}" for one in shown)
