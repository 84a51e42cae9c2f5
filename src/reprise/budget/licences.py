"""Data sets, released weights and packages with their licences, and what those allow.

Terms of data and weights are those of `params/catalogue.yaml`; packages say their own in their
metadata, and where they are silent the catalogue does. A summary for people, no legal advice.
"""

import csv
import functools
import importlib.metadata
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from email.message import Message
from pathlib import Path
from typing import cast

from packaging.requirements import InvalidRequirement, Requirement
from rich import box
from rich.console import Console
from rich.table import Table

from reprise.budget.catalogue import Catalogue, Terms
from reprise.config import Project
from reprise.errors import ConfigError
from reprise.plan import split_run

NOT_STATED = "not stated"
# Families of packages' licences, the strictest first: a word that tells one, and what it allows.
WEAK = "LGPL, MPL, EPL, GPL with an exception"
FAMILIES = {
    "GPL": (
        r"\b(A?GPL|GNU (Affero )?General Public)",
        "any use; what is distributed with it linked in must be under the GPL",
    ),
    WEAK: (
        r"\b(LGPL|MPL|EPL)|Lesser General Public|Mozilla|Eclipse|\b(classpath|linking) exception",
        "any use; changes to the package itself stay under its licence",
    ),
    "permissive": (
        r"\b(MIT|(Free)?BSD|Apache|ISC|PSF|Python Software|HPND|Unlicense|ZLIB|0BSD|CC0|WTFPL"
        r"|Historical Permission|CNRI|Public Domain|Zope|BSL-1)",
        "any use, with the notice",
    ),
    "proprietary": (r"NVIDIA|Proprietary", "use as its own terms say; redistribution limited"),
}
# From loose to strict; what cannot be told comes before what is known to be strict.
_ORDER = ("permissive", WEAK, "other", "GPL", "proprietary")
USUAL_WORDS = {
    "MIT": "Permission is hereby granted, free of charge, to any person",
    "Apache-2.0": "Apache License Version 2.0",
    "BSD": "Redistribution and use in source and binary forms",
}


@dataclass(frozen=True)
class Licence:
    """One thing under one licence; ``used_by`` names the runs or aliases of the scale."""

    kind: str  # data, weights, package
    name: str
    title: str
    licence: str
    allows: str
    commercial: str  # yes, no, unclear
    url: str
    source: str  # catalogue, metadata
    used_by: tuple[str, ...] = ()
    family: str = ""  # of packages


def of(project: Project, catalogue: Catalogue) -> list[Licence]:
    """Return all that a scale reads, the weights it may take, and the packages it needs."""
    return [*of_scale(project, catalogue), *packages(catalogue)]


def of_scale(project: Project, catalogue: Catalogue) -> list[Licence]:
    """Return a scale's data sets, and all known weights with the runs that take them."""
    return [*_data(project, catalogue), *_weights(project, catalogue)]


def _data(project: Project, catalogue: Catalogue) -> Iterator[Licence]:
    by_folder: dict[str, list[str]] = {}
    for alias, dataset in project.scale.datasets.items():
        by_folder.setdefault(dataset.home, []).append(alias)
    for folder, aliases in by_folder.items():
        terms = catalogue.data(project.dataset(aliases[0]))
        yield _entry("data", folder, terms, tuple(aliases))


def _weights(project: Project, catalogue: Catalogue) -> Iterator[Licence]:
    """Yield the catalogue's weights, and which runs of the scale take them."""
    used: dict[str, list[str]] = {}
    for key, names in released(project).items():
        for name in names:
            used.setdefault(name, []).append(key)
    for name in dict.fromkeys([*catalogue.weights, *used]):
        yield _entry("weights", name, catalogue.weights.get(name), tuple(used.get(name, ())))


def released(project: Project) -> dict[str, tuple[str, ...]]:
    """Return the runs that take released weights, 'paper/run' -> names in the catalogue."""
    found: dict[str, tuple[str, ...]] = {}
    for slug, paper in project.papers.items():
        for name, run in paper.runs.items():
            own = [run.method] if run.objective.get("weights") is not None else []
            if run.objective.get("language_model") is not None:
                own.append(str(run.objective["language_model"]))
            if own:
                found["/".join(split_run(slug, name))] = tuple(own)
    return found


def _entry(kind: str, name: str, terms: Terms | None, used_by: tuple[str, ...]) -> Licence:
    if terms is None:
        terms = Terms(
            licence=NOT_STATED,
            allows="ask its owner; params/catalogue.yaml has no entry",
            commercial="unclear",
            url="",
        )
    return Licence(
        kind,
        name,
        terms.title or name,
        terms.licence,
        terms.allows,
        terms.commercial,
        terms.url,
        "catalogue",
        used_by,
        _family(terms.licence) if kind == "package" else "",
    )


# ---- packages ----
def packages(catalogue: Catalogue) -> Iterator[Licence]:
    """Yield every installed package that this one needs, by name, and programs within them."""
    for name in sorted(needed("reprise"), key=str.lower):
        terms = catalogue.packages.get(name)
        stated = stated_by(name)
        if terms is not None:
            yield _entry("package", name, terms, ())
            continue
        family = family_of(stated)
        allows = FAMILIES[family][1] if family in FAMILIES else "ask its authors"
        meta = _metadata(name)
        url = meta.get("Home-page") or _project_url(meta.get_all("Project-URL") or [])
        commercial = "unclear" if family in ("proprietary", "other") else "yes"
        yield Licence(
            "package",
            name,
            name,
            stated,
            allows,
            commercial,
            url or "",
            "metadata",
            family=family,
        )
    for name, terms in catalogue.packages.items():
        if " in " in name and name.rpartition(" in ")[2] in needed("reprise"):
            yield _entry("package", name, terms, ())


@functools.cache
def needed(root: str) -> frozenset[str]:
    """Return the installed packages that one needs, directly or not; extras that nobody asked for
    are left out."""
    found: set[str] = set()
    waiting: list[tuple[str, frozenset[str]]] = [(root, frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # wanted on other systems
        if name != root:
            found.add(normal(distribution.metadata["Name"]))
        for text in distribution.requires or []:
            try:
                wanted = Requirement(text)
            except InvalidRequirement:
                continue
            if _applies(wanted, extras):
                waiting.append((normal(wanted.name), frozenset(wanted.extras)))
    if not found:
        raise ConfigError(
            f"package {root!r} is not installed here, so its dependencies are not known; run "
            "`pip install -e .`"
        )
    return frozenset(found)


def _applies(wanted: Requirement, extras: frozenset[str]) -> bool:
    if wanted.marker is None:
        return True
    return any(wanted.marker.evaluate({"extra": extra}) for extra in (extras or {""}))


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _metadata(name: str) -> Message:
    # Its declared type has not the methods that its own documentation tells of.
    return cast(Message, importlib.metadata.metadata(name))


@functools.cache
def stated_by(name: str) -> str:
    """Return the licence that a package's metadata state: an expression, classifiers or a word."""
    meta = _metadata(name)
    expression = meta.get("License-Expression")
    if expression:
        return str(expression)
    classified = [
        one.rpartition(" :: ")[2]
        for one in meta.get_all("Classifier") or []
        if one.startswith("License ::") and one.count("::") > 1
    ]
    if classified:
        return ", ".join(classified)
    text = (meta.get("License") or "").strip()
    # Some put the whole text there: its first line names it.
    first = text.splitlines()[0].strip() if text else ""
    return first if first and first.upper() != "UNKNOWN" else _by_its_file(name)


def _by_its_file(name: str) -> str:
    """Return the licence whose usual words a package's licence file has."""
    for file in importlib.metadata.files(name) or []:
        path = file.locate()
        if "licen" not in file.name.lower() or not Path(path).is_file():
            continue
        words = " ".join(Path(path).read_text(errors="replace").split())
        for title, usual in USUAL_WORDS.items():
            if usual in words:
                return f"{title} (its licence file)"
    return NOT_STATED


def family_of(licence: str) -> str:
    """Return the family of a licence's words: of `or` the loosest, of all else the strictest."""
    parts = re.split(r"\bAND\b|,", licence.replace("(", " ").replace(")", " "))
    found = [
        min((_family(one) for one in re.split(r"\bOR\b", part)), key=_ORDER.index) for part in parts
    ]
    return max(found, key=_ORDER.index)


def _family(licence: str) -> str:
    # LGPL holds the letters of GPL, and `GNU Lesser General Public` most of its words.
    for family in (WEAK, "GPL", "permissive", "proprietary"):
        if re.search(FAMILIES[family][0], licence, re.IGNORECASE):
            return family
    return "other"


def _project_url(urls: Iterable[str]) -> str | None:
    return next((one.partition(", ")[2] for one in urls), None)


# ---- output ----
def as_json(found: list[Licence]) -> str:
    """Return all entries as a JSON list."""
    return json.dumps([asdict(one) for one in found], indent=2)


def as_csv(found: list[Licence]) -> str:
    """Return all entries as CSV; several users are separated by spaces."""
    stream = io.StringIO()
    names = [one.name for one in fields(Licence)]
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    for one in found:
        writer.writerow({**asdict(one), "used_by": " ".join(one.used_by)})
    return stream.getvalue()


def print_licences(found: list[Licence]) -> None:
    """Print data and weights one by one, and packages by family."""
    console = Console()
    for kind in ("data", "weights"):
        made = Table(title=kind, title_justify="left", box=box.SIMPLE_HEAD)
        for head in ("name", "licence", "allows", "commerce", "used by", "terms"):
            made.add_column(head, overflow="fold")
        for one in found:
            if one.kind == kind:
                users = _few(one.used_by)
                made.add_row(one.title, one.licence, one.allows, one.commercial, users, one.url)
        console.print(made)
    console.print(_families([one for one in found if one.kind == "package"]))
    console.print("A summary for people, no legal advice: the terms behind each address decide.")


def _few(names: tuple[str, ...], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "-"


def _families(found: list[Licence]) -> Table:
    made = Table(title="packages, by family", title_justify="left", box=box.SIMPLE_HEAD)
    for head in ("family", "packages", "allows"):
        made.add_column(head, overflow="fold")
    for family in (*FAMILIES, "other"):
        of_family = [one for one in found if one.family == family]
        for allows in dict.fromkeys(one.allows for one in of_family):
            own = [one for one in of_family if one.allows == allows]
            names = (
                f"{len(own)}"
                if family == "permissive"
                else ", ".join(f"{one.name} ({one.licence})" for one in own)
            )
            made.add_row(family, names, allows)
    return made
