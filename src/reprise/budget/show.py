"""A plan for people, and as JSON or CSV."""

import csv
import io
import json
from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table

from reprise.budget.bills import Bill, Forecast, Line
from reprise.budget.evaluations import PROBE_ITERATIONS
from reprise.budget.forecast import BF16_SHARE
from reprise.budget.machines import DECODED_PER_SECOND, PROBE_FLOPS_ON_GPU, pil_seconds
from reprise.budget.shapes import CAPTION_TOKENS
from reprise.config import Json
from reprise.training.seeding import BLOCK

NOTES = 12  # shown at most
WIDE = 150  # characters; a narrower terminal is shown fewer columns
WIDEST = 200
EXTRA = ("images", "of it Pillow", "one core", "plan/measured")


def quantity(value: float) -> str:
    """Return a number with as many digits as it deserves."""
    if value == 0:
        return "0"
    if value < 0.01:
        return f"{value:.1e}"
    return f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def hours(value: float | None) -> str:
    """Return hours in the unit that suits them."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    if value < 1 / 60:
        return f"{3600 * value:.0f} s" if value >= 1 / 3600 else "<1 s"
    return f"{60 * value:.0f} min" if value < 1 else f"{quantity(value)} h"


def operations(flops: float) -> str:
    """Return FLOPs with a prefix that suits them."""
    for limit, prefix in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if flops >= limit:
            return f"{quantity(flops / limit)} {prefix}"
    return quantity(flops)


def assumptions(plan: Forecast) -> list[str]:
    """Return what a plan takes for granted, in words."""
    speed = plan.speed
    probes = "on one core"
    if speed.on_gpu:
        probes = f"at {PROBE_FLOPS_ON_GPU / 1e12:g} TFLOP/s"
    return [
        f"{speed.title}: {quantity(speed.peak / 1e12)} TFLOP/s at its peak ({speed.peak_source}); "
        f"utilisation {speed.utilisation:g}: {speed.utilisation_basis}",
        "FLOPs of forward and backward passes are counted (matrix products, convolutions, "
        "attention), twice their multiply-adds; hours may be off by a factor of two",
        f"memory: weights, gradients, optimiser, and {BF16_SHARE:g} of the float32 bytes that a "
        "step keeps",
        f"Pillow's augmentation is not overlapped: {1000 * pil_seconds(224):.2f} ms of a core for "
        f"an image of 224 pixels, blocks of {BLOCK} on {speed.cores} core(s) beside each "
        f"{speed.unit}",
        f"captions of {CAPTION_TOKENS} tokens; probes of {PROBE_ITERATIONS} iterations "
        f"{probes}; {DECODED_PER_SECOND:.0f} photographs decoded a second on one core",
        "wall-clock: one item after another, batches spread over GPUs without loss; evaluations on "
        "one GPU",
    ]


# ---- terminal ----
def tables(plan: Forecast, wide: bool = True) -> Iterator[RenderableType]:
    """Yield what is printed of a plan."""
    for taken in assumptions(plan):
        yield f"- {taken}"
    groups: dict[str, list[Line]] = {}
    for line in plan.lines:
        groups.setdefault(f"{line.paper}/{line.table}" if line.table else line.paper, []).append(
            line
        )
    for name, lines in groups.items():
        yield _table_of(name, lines, plan, wide)
    if len(plan.lines) > 1:
        yield _totals(plan, wide)
    yield _data(plan)
    notes = list(plan.total.notes)
    if notes:
        more = [f"- and {len(notes) - NOTES} more (--json has all)"] if len(notes) > NOTES else []
        yield Group("mind:", *(f"- {note}" for note in notes[:NOTES]), *more)


def _table_of(name: str, lines: list[Line], plan: Forecast, wide: bool) -> Table:
    made = _columns(name, "row", plan, wide)
    for line in lines:
        mark = "" if line.headline or not line.runs else " (sweep)"
        cells = _cells(line.alone, line.added, plan)
        made.add_row(line.label, line.state + mark, *_shown(cells, wide))
    total = plan.tables.get(name)
    if len(lines) > 1 and total is not None:
        made.add_section()
        made.add_row("together", "", *_shown(_cells(total, None, plan), wide))
    return made


def _totals(plan: Forecast, wide: bool) -> Table:
    made = _columns("each item once", "paper", plan, wide)
    for name, bill in plan.papers.items():
        made.add_row(name, f"{bill.items} items", *_shown(_cells(bill, None, plan), wide))
    if len(plan.papers) > 1:
        made.add_section()
        cells = _cells(plan.total, None, plan)
        made.add_row("all", f"{plan.total.items} items", *_shown(cells, wide))
    return made


def _columns(title: str, first: str, plan: Forecast, wide: bool) -> Table:
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    made.add_column(first)
    made.add_column("state")
    for head in _shown({head: head for head in _cells(Bill(), None, plan)}, wide):
        made.add_column(head, justify="right")
    return made


def _shown(cells: dict[str, str], wide: bool) -> list[str]:
    return [cell for head, cell in cells.items() if wide or head not in EXTRA]


def _cells(bill: Bill, added: Bill | None, plan: Forecast) -> dict[str, str]:
    """Return what stands in a line, by its column."""
    ratio, unit, any_items = bill.ratio, plan.speed.unit, bool(bill.items)
    return {
        "FLOPs": operations(bill.flops) if any_items else "",
        "images": operations(bill.images) if any_items else "",
        f"{unit} time": hours(bill.hours) if any_items else "",
        "of it Pillow": hours(bill.host_hours) if bill.host_hours else "",
        "adds": hours(added.hours) if added is not None and any_items else "",
        f"at {plan.gpus} {unit}": hours(bill.wall_hours) if any_items else "",
        "GB each": quantity(bill.memory_gb) if bill.memory_gb else "",
        "fits on": "" if bill.least_gpus is None else str(bill.least_gpus),
        "one core": hours(bill.cpu_hours) if bill.cpu_hours else "",
        "measured": hours(bill.measured_hours),
        "plan/measured": "" if ratio is None else f"{ratio:.2f}x",
    }


def _data(plan: Forecast) -> RenderableType:
    made = Table(title="data and weights", title_justify="left", box=box.SIMPLE_HEAD)
    for head in ("folder", "images", "download GB", "kept GB", "decoding, one core", "known from"):
        made.add_column(head, justify="left" if head in ("folder", "known from") else "right")
    for one in plan.data:
        made.add_row(
            one.folder,
            "?" if one.images is None else f"{one.images:,}",
            "?" if one.download_gb is None else quantity(one.download_gb),
            "?" if one.disk_gb is None else quantity(one.disk_gb),
            hours(one.decode_cpu_hours),
            one.source,
        )
    made.add_section()
    made.add_row("released weights", "", quantity(plan.released_gb), "", "", "parameters")
    made.add_row("finished weights", "", "", quantity(plan.total.weights_gb), "", "parameters")
    made.add_row("checkpoints of one", "", "", quantity(plan.checkpoint_gb), "", "parameters")
    made.add_section()
    made.add_row("all, each once", "", quantity(plan.download_gb), quantity(plan.disk_gb), "", "")
    return made


def print_plan(plan: Forecast) -> None:
    """Print a plan on the terminal, or as wide as it likes into a file."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDEST)
    console.print(
        f"[bold]plan of scale {plan.scale}[/bold] for {plan.gpus} x {plan.speed.title}",
        highlight=False,
    )
    for part in tables(plan, console.width >= WIDE):
        console.print(part, highlight=False)


# ---- machines ----
def as_json(plan: Forecast) -> str:
    """Return a plan as JSON: hours, FLOPs, images and GB as plain numbers."""
    speed = plan.speed
    content: Json = {
        "scale": plan.scale,
        "machine": {
            "name": speed.name,
            "title": speed.title,
            "peak_flops": speed.peak,
            "peak_source": speed.peak_source,
            "utilisation": speed.utilisation,
            "utilisation_basis": speed.utilisation_basis,
        },
        "gpus": plan.gpus,
        "assumptions": assumptions(plan),
        "rows": [line.record() for line in plan.lines],
        "tables": {name: bill.record() for name, bill in plan.tables.items()},
        "papers": {name: bill.record() for name, bill in plan.papers.items()},
        "total": plan.total.record(),
        "data": [one.record() for one in plan.data],
        "download_gb": plan.download_gb,
        "disk_gb": plan.disk_gb,
        "weights_gb": {
            "released": plan.released_gb,
            "finished": plan.total.weights_gb,
            "checkpoints": plan.checkpoint_gb,
        },
    }
    return json.dumps(content, indent=2)


def as_csv(plan: Forecast) -> str:
    """Return the rows of a plan as CSV, and the totals behind them."""
    stream = io.StringIO()
    fields = [key for key in Bill().record() if key != "notes"]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["paper", "table", "row", "state", *fields, "added_hours"])
    for line in plan.lines:
        record = line.alone.record()
        own = [line.paper, line.table, line.label, line.state]
        writer.writerow([*own, *(record[key] for key in fields), line.added.hours])
    for name, bill in [*plan.papers.items(), ("all", plan.total)]:
        record = bill.record()
        writer.writerow([name, "", "total", "", *(record[key] for key in fields), bill.hours])
    return stream.getvalue()
