"""What tables call the runs of a paper: curves and pictures have the same names."""

from collections import Counter
from collections.abc import Iterable, Mapping

from reprise.config import Table
from reprise.plan import split_run

Labels = Mapping[tuple[str, str], str]  # (paper, run) -> label


def labels(slug: str, tables: Iterable[Table]) -> dict[tuple[str, str], str]:
    """Return the label that most rows give each run, in the order of the rows; of two the first."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for table in tables:
        for row in table.rows:
            for name in (row.run, *row.runs.values()):
                if name is not None:
                    found.setdefault(split_run(slug, name), Counter())[row.label] += 1
    return {run: count.most_common(1)[0][0] for run, count in found.items()}


def told_apart(runs: Iterable[tuple[str, str]], known: Labels) -> dict[tuple[str, str], str]:
    """Return a name for each (paper, run): its label, its own name where it has none.

    Its own name follows where several have a label, or where a label is a bare number, unless it is
    the label but for capitals.
    """
    plain = {run: known.get(run, run[1]) for run in dict.fromkeys(runs)}
    count = Counter(plain.values())
    alone = {
        run: label.lower() == run[1]
        or (count[label] == 1 and any(letter.isalpha() for letter in label))
        for run, label in plain.items()
    }
    return {run: label if alone[run] else f"{label} ({run[1]})" for run, label in plain.items()}
