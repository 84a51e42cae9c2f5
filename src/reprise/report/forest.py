"""A claim's effect as a drawing: its interval, its seeds, and the bound that it must lie beyond."""

from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup

from reprise.config import Json

_WIDTH, _HEIGHT, _EDGE = 140.0, 20.0, 18.0
_SEEDS_AT = 16.0  # height of the single seeds' ticks


def drawing(claim: Json) -> Markup | None:
    """Return an <svg> of the part on which a claim hangs; None where it has no number.

    The shaded side is where the claim asks the effect to lie (between two bounds where its parts
    are of one effect); the line is the interval, the dot the effect, and short ticks are single
    seeds. All of it stands in words beside it, too.
    """
    part = next((one for one in claim["parts"] if one["effect"] == claim["effect"]), None)
    if part is None:
        return None
    asked = [one for one in claim["parts"] if one["label"] == part["label"]]
    low, high = part["interval"] or (part["effect"], part["effect"])
    shown = [*(one["bound"] for one in asked), part["effect"], low, high, *part["per_seed"]]
    least, span = min(shown), max(shown) - min(shown)

    def x(value: float) -> float:
        share = (value - least) / span if span else 0.5
        return round(_EDGE + share * (_WIDTH - 2 * _EDGE), 1)

    marks = "".join([*_bounds(asked, x), *_marks(part, (low, high), x)])
    return Markup(  # noqa: S704 (numbers alone)
        f'<svg class="forest" width="{_WIDTH:g}" height="{_HEIGHT:g}" '
        f'viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" aria-hidden="true">{marks}</svg>'
    )


def _bounds(asked: Sequence[Json], x: Callable[[float], float]) -> Iterator[str]:
    left = max([0.0, *(x(one["bound"]) for one in asked if not one["below"])])
    right = min([_WIDTH, *(x(one["bound"]) for one in asked if one["below"])])
    yield f'<rect class="side" x="{left:g}" y="0" width="{right - left:g}" height="{_HEIGHT:g}"/>'
    for one in asked:
        bound = x(one["bound"])
        yield f'<line class="bound" x1="{bound:g}" x2="{bound:g}" y1="0" y2="{_HEIGHT:g}"/>'


def _marks(part: Json, ends: tuple[float, float], x: Callable[[float], float]) -> Iterator[str]:
    middle = _HEIGHT / 2
    for value in part["per_seed"] if len(part["per_seed"]) > 1 else ():
        at = x(value)
        yield f'<line class="seed" x1="{at:g}" x2="{at:g}" y1="{_SEEDS_AT:g}" y2="{_HEIGHT:g}"/>'
    low, high = map(x, ends)
    yield f'<line class="interval" x1="{low:g}" x2="{high:g}" y1="{middle:g}" y2="{middle:g}"/>'
    yield f'<circle cx="{x(part["effect"]):g}" cy="{middle:g}" r="3.5"/>'
