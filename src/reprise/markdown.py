"""Renders a table (the JSON object of `reprise.tables`) as Markdown for people."""

from collections.abc import Iterator

from reprise.config import Json

_NOTHING_LACKS = ("measured", "as set", "published only")


def number(value: float, unit: str, sign: bool = False) -> str:
    """Return a number for people.

    Percentages have one decimal; all else three digits, one decimal up to a thousand, and
    thousands separators: 0.0123, 1.23, 12.3, 123.4, 1,234. With a sign, what is below zero keeps
    it even where it is rounded to zero.
    """
    size = abs(value)
    if unit == "%":
        digits = ".1f"
    elif size >= 999.95:
        digits = ",.0f"
    else:
        digits = ".4g" if size >= 100 else ".3g"
    return f"{value + 0.0:+{digits}}" if sign else f"{value:z{digits}}"


def interval(estimate: Json, unit: str, sign: bool = False) -> str:
    """Return 'value [low, high]' of an estimate, or 'value' where it has no interval."""
    value = number(estimate["value"], unit, sign)
    if estimate["low"] is None:
        return value
    low, high = (number(estimate[end], unit, sign) for end in ("low", "high"))
    return f"{value} [{low}, {high}]"


def printed_columns(table: Json) -> set[str]:
    """Return the keys of the columns for which the paper printed any number."""
    rows = table["rows"]
    return {key for row in rows for key, cell in row["cells"].items() if cell["published"]}


def compared_columns(table: Json) -> set[str]:
    """Return the keys of the columns in which a number of ours is compared with a printed one."""
    cells = (item for row in table["rows"] for item in row["cells"].items())
    return {key for key, cell in cells if _is_compared(cell.get("against_print"))}


def _is_compared(comparison: Json | None) -> bool:
    return comparison is not None and comparison["difference"] is not None


def beside_print(cell: Json) -> str:
    """Return how a cell's number compares with the printed one, or that it does not; or nothing."""
    comparison = cell.get("against_print")
    if comparison is None:
        return ""
    word = str(comparison["word"])
    if not _is_compared(comparison):
        return word
    difference, tolerance = comparison["difference"], comparison["tolerance"]
    if tolerance is None:
        return f"{word}, {precise(difference, sign=True)}"
    # With two digits a difference beyond what is allowed may look as large as it.
    alike = precise(abs(difference)) == precise(tolerance) and abs(difference) != tolerance
    shown = precise(difference, sign=True, digits=3 if alike else 2)
    return f"{word}, {shown} (± {precise(tolerance)})"


def precise(value: float, sign: bool = False, digits: int = 2) -> str:
    """Return a small difference with two digits, a large one as `number` has it."""
    if abs(value) >= 100:
        return number(value, "", sign)
    return f"{value:{'+' if sign else ''}z.{digits}g}"


def scale_line(shown: Json) -> str:
    """Return the line that says at which scale the numbers of a table or of claims were made."""
    scale, columns = shown["scale"], shown.get("columns")
    line = f"scale {scale['scale']}: {scale['about']}"
    seeded = columns is None or any(
        has_seeds(column) for column in columns if not column["printed"]
    )
    return f"{line}; seeds: {shown['seeds']}" if seeded else line


def has_seeds(column: Json) -> bool:
    """Say whether a column's numbers are of seeds; what a benchmark counts or times has none."""
    return not (column["setting"] or column["benchmark"])


def covered(kind: str, column: Json) -> str:
    """Return what an interval covers, in words: of a benchmark's number without a seed."""
    return kind.removesuffix(", 1 seed") if column["benchmark"] else kind


def notes(cell: Json, column: Json, seeds: int) -> list[str]:
    """Return what to say of a cell's number: that seeds lack, and of how many it is.

    Args:
        seeds: how many the table asks for.
    """
    found = [] if cell["status"] == "measured" else ["partial"]
    if has_seeds(column) and len(cell["seeds"]) != seeds:
        count = len(cell["seeds"])
        found.append(f"{count} seed{'s' * (count > 1)}")
    return found


def of_reference(known: Json, column: Json) -> str:
    """Return what to say of a number of the reference: of how many seeds, and whether stale."""
    count = len(known["seeds"])
    found = [f"{count} seed{'s' * (count != 1)}"] if has_seeds(column) else []
    return ", ".join([*found, *(["stale"] if known["stale"] else [])])


def _estimates(table: Json, part: str) -> list[tuple[Json, Json]]:
    """Return every estimate of ``ours`` or ``gain`` with its column."""
    found = (
        (row["cells"][column["key"]][part], column)
        for row in table["rows"]
        for column in table["columns"]
    )
    return [(estimate, column) for estimate, column in found if estimate]


def kinds(table: Json, part: str) -> list[str]:
    """Return what the intervals of ``ours`` or ``gain`` cover, in words, each once."""
    found = (
        covered(one["kind"], column)
        for one, column in _estimates(table, part)
        if one["low"] is not None
    )
    return list(dict.fromkeys(found))


def _what_ours_is(table: Json) -> str:
    """Return the words for our numbers: of seeds, of benchmarks, or of both."""
    seeded = {has_seeds(column) for _, column in _estimates(table, "ours")}
    if seeded == {False}:
        return "ours: counted, or measured by a benchmark, without seeds"
    return "ours: mean over seeds" + "; counts and benchmarks have none" * (False in seeded)


def legend(table: Json) -> list[str]:
    """Return what the numbers and intervals of a table are, a sentence each."""
    what = {"ours": _what_ours_is(table), "gain": f"gain: paired, over {table['baseline']}"}
    lines = []
    for part, text in what.items():
        if kinds_of := "; ".join(kinds(table, part)):
            lines.append(f"{text} [95 % interval: {kinds_of}].")
        elif _estimates(table, part):
            lines.append(f"{text}.")
    if table["detectable"] and _estimates(table, "gain"):
        lines.append(
            "detectable: the true gain whose interval would lie clear of zero in four cases of "
            "five; a smaller one cannot be told from none here."
        )
    if any(kind.startswith("test images") for kind in kinds(table, "ours")):
        lines.append(
            "An interval over test images leaves out how far another seed, or another draw of few "
            "labels, would move the number."
        )
    if compared_columns(table):
        lines.append(
            "beside print: ours less the printed number, where both are of one scale; they agree "
            "within rounding in print and, of what is trained, the spread over seeds."
        )
    elif any(cell.get("against_print") for row in table["rows"] for cell in row["cells"].values()):
        lines.append("Printed numbers are of a different scale than ours, and are not compared.")
    alone = {has_seeds(column) for one, column in _estimates(table, "ours") if one["low"] is None}
    if alone:
        count = "a count or " * (False in alone)
        lines.append(f"A number without an interval is {count}a single measurement.")
    return lines


def render(table: Json) -> str:
    """Return the whole Markdown page of a table."""
    paragraphs = [
        f"# {table['title']}",
        f"{table['paper_title']} (arXiv {table['arxiv']}), {table['printed']}",
        *([table["about"]] if table["about"] else []),
        scale_line(table),
    ]
    if not table["scale"]["result"]:
        paragraphs.append("**plumbing check, not a result**")
    paragraphs += ["\n".join(_grid(table)), *legend(table)]
    if table["baseline"] and _estimates(table, "gain"):
        paragraphs.append(f"## Paired gain over {table['baseline']}")
        paragraphs.append("\n".join(_gains(table)))
    for title, lines in (
        ("Deviations from the paper", deviations(table)),
        ("Cells without a number of ours", statuses(table)),
        ("Sources of the published numbers", sources(table)),
    ):
        if lines:
            paragraphs += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(paragraphs) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def pipe_table(head: list[str], body: list[list[str]]) -> Iterator[str]:
    yield _line(head)
    yield "|---|" + "---:|" * (len(head) - 1)
    yield from map(_line, body)


def _head(column: Json) -> str:
    return f"{column['label']} ({column['unit']})" if column["unit"] else str(column["label"])


def _grid(table: Json) -> Iterator[str]:
    """One line per row; for each metric what was printed (if anything was) and ours."""
    shown, compared, head = printed_columns(table), compared_columns(table), ["row"]
    for column in table["columns"]:
        name = _head(column)
        if column["printed"]:
            head.append(f"{name}, published")
        else:
            head += [f"{name}, published", f"{name}, ours"] if column["key"] in shown else [name]
            head += [f"{name}, beside print"] if column["key"] in compared else []
    body = [[row_name(row), *_cells(row, table, shown, compared)] for row in table["rows"]]
    return pipe_table(head, body)


def row_name(row: Json) -> str:
    """Return a row's label, and the printed row's where ours stands beside one of another name."""
    printed = row["published_row"]
    if not row["run"] or printed in (None, row["label"]):
        return str(row["label"])
    return f"{row['label']} (printed: {printed})"


def _cells(row: Json, table: Json, shown: set[str], compared: set[str]) -> Iterator[str]:
    columns, table_seeds = table["columns"], table["seeds"]
    for column in columns:
        cell = row["cells"][column["key"]]
        if column["printed"] or column["key"] in shown:
            yield cell["published"]["text"] if cell["published"] else ""
        if not column["printed"]:
            yield ours(row, cell, column, table_seeds)
            if column["key"] in compared:
                yield beside_print(cell)


def ours(row: Json, cell: Json, column: Json, seeds: int) -> str:
    """Return a cell's own number with its interval, or in a word why there is none."""
    if cell["ours"]:
        said = ", ".join(notes(cell, column, seeds))
        return interval(cell["ours"], column["unit"]) + (f" ({said})" if said else "")
    if cell["text"] is not None:
        return str(cell["text"])
    return cell["status"].split(":")[0] if row["run"] else ""


def _gains(table: Json) -> Iterator[str]:
    columns = [one for one in table["columns"] if not (one["setting"] or one["printed"])]
    body = [
        [
            row["label"],
            *(gain(row["cells"][column["key"]], column["unit"], table) for column in columns),
        ]
        for row in table["rows"]
        if any(cell["gain"] for cell in row["cells"].values())
    ]
    return pipe_table(["row", *map(_head, columns)], body)


def gain(cell: Json, unit: str, table: Json) -> str:
    """Return a cell's gain for people, with the smallest detectable one if the table shows that."""
    if not cell["gain"]:
        return ""
    text = interval(cell["gain"], unit, sign=True)
    if table["detectable"] and cell["detectable"] is not None:
        text += f", detectable {number(cell['detectable'], unit)}"
    return text


def deviations(table: Json) -> list[str]:
    rows = ((row["label"], text) for row in table["rows"] for text in row["deviations"])
    return [*table["deviations"], *(f"{label}: {text}" for label, text in rows)]


def statuses(table: Json) -> list[str]:
    """Why cells of rows with a run hold no number, or one of fewer seeds than asked for."""
    return [
        f"{row['label']}, {column['label']}: {row['cells'][column['key']]['status']}"
        for row in table["rows"]
        for column in table["columns"]
        if row["run"] and row["cells"][column["key"]]["status"] not in _NOTHING_LACKS
    ]


def sources(table: Json) -> list[str]:
    """Each source of a printed number, with how it is known and the rows taken from it."""
    rows: dict[tuple[str, str, str, str], dict[str, None]] = {}
    for row in table["rows"]:
        for cell in row["cells"].values():
            if printed := cell["published"]:
                about = (
                    printed["source"],
                    printed["confidence"],
                    printed["dataset"],
                    printed["split"],
                )
                rows.setdefault(about, {})[printed["row"]] = None
    return [
        f"{source} ({confidence}; {dataset}, {split}): {', '.join(names)}"
        for (source, confidence, dataset, split), names in rows.items()
    ]
