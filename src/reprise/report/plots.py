"""Curves as SVG that takes the page's own text colour."""

import hashlib
import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reprise.config import Json
from reprise.report.runs import is_curve

# Each at least 3.9:1 against white and against the dark page; dashes help where colour does not.
COLOURS = (
    "#3b82c4",
    "#c26a06",
    "#2a9068",
    "#c2528b",
    "#8b6fd1",
    "#8f7722",
    "#d1493f",
    "#44858f",
)
DASHES = (  # as many as tell a hundred runs apart
    *("", "5 2", "1.5 1.5", "6 2 1.5 2", "9 3", "3 1", "8 2 1.5 2 1.5 2", "1 3"),
    *("10 2 3 2", "4 4", "12 2 4 2 1.5 2", "6 1 2 1"),
)

# Term of a log -> what it is, and the label of its axis. What else begins with loss is a loss.
_TERMS = {
    "loss": ("loss", "loss"),
    "loss_contrast": ("loss: contrast", "loss"),
    "loss_reconstruct": ("loss: reconstruction", "loss"),
    "loss_denoise": ("loss: denoising", "loss"),
    "classification": ("loss: classes", "loss"),
    "bbox_regression": ("loss: boxes", "loss"),
    "auxiliary": ("loss: auxiliary head", "loss"),
    "top1": ("accuracy in training", "top-1, %"),
    "pixels": ("pixels whose class is right, in training", "pixels right, %"),
    "matched": ("images matched with their own text, in training", "pairs matched, %"),
    "scale": ("factor on similarities", "factor"),
}

INK = "#0a0b0c"  # stands for the page's text colour until the SVG is finished


@dataclass(frozen=True)
class Curve:
    """The log of one run and seed; ``style`` is the run's number, for colour and dashes.

    ``run`` is what the page calls the run.
    """

    run: str
    seed: int
    style: int
    lines: Sequence[Json]

    @property
    def colour(self) -> str:
        return COLOURS[self.style % len(COLOURS)]

    @property
    def dashes(self) -> str:
        """SVG dash pattern; each round through the colours moves on by one."""
        return DASHES[(self.style % len(COLOURS) // 2 + self.style // len(COLOURS)) % len(DASHES)]

    @property
    def dash_pixels(self) -> str:
        """The dashes at the width of the legend's line, where matplotlib scales its own."""
        return " ".join(str(2.5 * float(part)) for part in self.dashes.split())

    def points(self, term: str) -> tuple[list[float], list[float]]:
        """Return the steps and values at which a term was logged."""
        found = [
            (line["step"], line[term]) for line in self.lines if is_curve(term, line.get(term))
        ]
        return [step for step, _ in found], [value for _, value in found]


@dataclass(frozen=True)
class Panel:
    """One term of the logs over steps, for all runs that log it."""

    title: str
    svg: str


def panels(curves: Sequence[Curve]) -> list[Panel]:
    """Return a panel for each logged number but the learning rate, in the order of the logs."""
    terms = dict.fromkeys(
        key
        for curve in curves
        for line in curve.lines
        for key, value in line.items()
        if is_curve(key, value)
    )
    return [_panel(term, *_named(term), "step", curves) for term in terms]


def _named(term: str) -> tuple[str, str]:
    """Return a panel's title and the label of its y axis, empty where the term is not known."""
    if term in _TERMS:
        return _TERMS[term]
    head, _, tail = term.partition("_")
    title = f"{head}: {tail.replace('_', ' ')}" if tail else head
    return title, "loss" if head == "loss" else ""


def strength_lines(evaluation: Json) -> list[Json]:
    """Return the accuracies of a `robustness` evaluation as the lines of a `Curve`.

    A line per strength, 0 for clean images: {"step": strength, corruption: top-1 in %, ...}.
    """
    values = {metric["metric"]: metric["value"] for metric in evaluation["metrics"]}
    lines: dict[int, Json] = {}
    for name, value in values.items():
        corruption, _, strength = name.rpartition("_")
        if strength.isdigit():
            for step, found in ((0, values["clean"]), (int(strength), value)):
                lines.setdefault(step, {"step": step})[corruption] = found
    return [lines[step] for step in sorted(lines)]


def strength_panels(curves: Sequence[Curve]) -> list[Panel]:
    """Return a panel for each corruption, of curves made of `strength_lines`."""
    corruptions = dict.fromkeys(
        key for curve in curves for line in curve.lines for key in line if key != "step"
    )
    return [
        _panel(corruption, corruption.replace("_", " "), "top-1, %", "strength", curves)
        for corruption in corruptions
    ]


def _panel(term: str, title: str, unit: str, over: str, curves: Sequence[Curve]) -> Panel:
    """Return a panel of a term over steps or strengths; ``unit`` is the label of its y axis."""
    told = []
    with style(term):
        figure, axes = small_axes(over, unit)
        for curve in curves:
            steps, values = curve.points(term)
            if steps:
                dashes = (0, [float(part) for part in curve.dashes.split()] or None)
                (line,) = axes.plot(steps, values, color=curve.colour, linestyle=dashes)
                line.set(linewidth=1.6, marker="o" if len(steps) == 1 else "")
                told.append(f"{curve.run} from {values[0]:.3g} to {values[-1]:.3g}")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        return Panel(title, as_svg(figure, f"{title} over {over}s: {'; '.join(told)}"))


def style(salt: str) -> AbstractContextManager[None]:
    """Return the context to draw and save a figure in; the salt goes into its marks' names."""
    return matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9.5})


SMALL, WIDE = (3.6, 2.3), (7.2, 3.8)  # inches


def small_axes(x: str, y: str, size: tuple[float, float] = SMALL) -> tuple[Figure, Axes]:
    """Return a figure of a panel's size and its axes, labelled, in the page's text colour."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x, color=INK, parse_math=False)
    axes.set_ylabel(y, color=INK, parse_math=False)
    axes.tick_params(which="both", colors=INK)
    axes.grid(color=INK, alpha=0.12, linewidth=0.8)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set(color=INK, alpha=0.4)
    return figure, axes


def as_svg(figure: Figure, alt: str, kind: str = "") -> str:
    """Return an <svg> that scales with its container and describes itself; ``kind``: its class."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = _with_own_names(svg, alt)
    named = f' class="{kind}"' if kind else ""
    return svg.replace("<svg", f'<svg{named} role="img" aria-label="{escape(alt)}"', 1)


def _with_own_names(svg: str, alt: str) -> str:
    """Return an <svg> whose marks no other of the page shares, and without names that none uses."""
    uses = r'((?:url\(|href=")#)([\w-]+)'
    used = {name for _, name in re.findall(uses, svg)}
    own = hashlib.sha256(f"{alt}{svg}".encode()).hexdigest()[:8]

    def named(match: re.Match[str]) -> str:
        return f' id="s{own}-{match[1]}"' if match[1] in used else ""

    return re.sub(uses, rf"\g<1>s{own}-\g<2>", re.sub(r' id="([^"]*)"', named, svg))
