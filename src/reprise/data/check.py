"""Says what of a data set is there: its layout, counts, list of classes, digests, some pictures.

Each finding is a row: what was looked at, what is expected, what was found, and a verdict. Nothing
is prepared and nothing changed.
"""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from reprise import registry
from reprise.data import origin, photo_files, wordnet
from reprise.data.canvas import Findings
from reprise.data.get import RECORD, digests
from reprise.data.public import Entry
from reprise.data.sets import (
    captioned_photos,
    cifar,
    coco_objects,
    flickrstyle10k,
    image_folder,
    imagenet_real,
    mask_pairs,
)
from reprise.errors import ConfigError, DataError
from reprise.progress import bar

OK, DIFFERS, ABSENT, OPEN = "ok", "differs", "missing", "not checked"
NAMED = 3


@dataclass(frozen=True)
class Row:
    """One finding."""

    what: str
    expected: str
    found: str
    verdict: str


@dataclass(frozen=True)
class Found:
    """What a reader finds at a root: classes, photographs by split, and files to try."""

    classes: tuple[str, ...]
    counts: Mapping[str, int]
    paths: list[str] = field(default_factory=list)


def check(
    reader: str, args: Mapping[str, Any], entry: Entry | None, images: int | None
) -> list[Row]:
    """Return the findings on what lies at ``args["root"]``.

    ``images`` photographs, spread evenly, are decoded; all where it is None. Raises ConfigError
    where an argument is wrong.
    """
    module = registry.load("data set", reader)
    try:
        settings = module.Args.model_validate(dict(args))
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(["args", *map(str, wrong["loc"])])
        raise ConfigError(f"data set {reader!r}: {place}: {wrong['msg']}") from None
    layout = entry.layout if entry else "as its reader expects"
    try:
        found = survey(reader, settings)
    except DataError as error:
        return [Row("layout", layout, str(error), ABSENT)]
    rows = [Row("layout", layout, "found", OK)]
    rows += _counts(found, entry) + _classes(found, entry)
    rows += _digests(origin.place(str(args["root"])), entry)
    return [*rows, _decoded(found.paths, images)]


def show(title: str, rows: list[Row]) -> bool:
    """Print the findings as a table; return whether none is amiss."""
    table = Table("", "expected", "found", "verdict", title=title)
    for row in rows:
        table.add_row(row.what, row.expected, row.found, row.verdict)
    Console().print(table)
    return all(row.verdict in (OK, OPEN) for row in rows)


def _counts(found: Found, entry: Entry | None) -> list[Row]:
    expected = entry.counts if entry else {}
    rows = []
    for split in dict.fromkeys([*expected, *found.counts]):
        wanted, count = expected.get(split), found.counts.get(split)
        verdict = OPEN if wanted is None else ABSENT if count is None else _same(wanted, count)
        rows.append(Row(f"photographs, {split}", _number(wanted), _number(count), verdict))
    return rows


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _same(one: object, other: object) -> str:
    return OK if one == other else DIFFERS


def _classes(found: Found, entry: Entry | None) -> list[Row]:
    wanted = entry.classes if entry else None
    number = len(found.classes)
    rows = [
        Row("classes", _number(wanted), _number(number), _same(wanted, number) if wanted else OPEN)
    ]
    if entry and entry.class_list:
        rows.append(_listed(found.classes, entry.class_list, entry.classes))
    return rows


def _listed(classes: tuple[str, ...], which: str, expected: int) -> Row:
    """Compare WordNet ids with timm's list; of a larger list they must be a part."""
    known = wordnet.synsets(which)
    strange = sorted(set(classes) - set(known))
    lacking = sorted(set(known) - set(classes)) if len(known) == expected else []
    said = [f"{len(strange)} unknown: {', '.join(strange[:NAMED])}"] if strange else []
    said += [f"{len(lacking)} lacking: {', '.join(lacking[:NAMED])}"] if lacking else []
    wanted = f"{expected:,} of timm's list of {len(known):,} WordNet ids"
    return Row("list of classes", wanted, "; ".join(said) or "agrees", DIFFERS if said else OK)


def _digests(root: Path, entry: Entry | None) -> list[Row]:
    """Compare archives and files that lie at the root with the published digests."""
    rows, record = list[Row](), _record(root)
    for archive in entry.archives if entry else ():
        path, said = root / archive.name, record.get(archive.name)
        wanted = f"MD5 {archive.md5}" if archive.md5 else "none published"
        if path.is_file():
            md5, sha256 = digests(path)
            verdict = _same(archive.md5, md5) if archive.md5 else OPEN
            found = f"MD5 {md5}" if archive.md5 else f"SHA-256 {sha256}"
            if not archive.md5 and said:
                verdict = _same(said["sha256"], sha256)
                wanted = f"SHA-256 {said['sha256']}, as it came"
            rows.append(Row(archive.name, wanted, found, verdict))
        else:
            found = "unpacked by --get, checked then" if said else "not there (unpacked by hand?)"
            rows.append(Row(archive.name, wanted, found, OK if said and archive.md5 else OPEN))
    return rows


def _record(root: Path) -> dict[str, Any]:
    for folder in (root, root.parent):  # ADE20K's root is a folder of what was unpacked
        if (folder / RECORD).is_file():
            found: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
            return found
    return {}


def _decoded(paths: list[str], images: int | None) -> Row:
    """Decode some photographs, or all of them."""
    if not paths:
        return Row("photographs that can be decoded", "all", "no files to try", OPEN)
    some = paths if images is None else origin.evenly(paths, max(images, 2))
    failed: list[tuple[str, str]] = []
    try:
        with bar("decoding", len(some)) as shown:
            for part in photo_files.look_all(some):
                failed += [(some[place], reason) for place, reason in part.failed]
                shown.advance(len(part.kept) + len(part.failed))
    except DataError as error:
        return Row("photographs that can be decoded", f"{len(some):,}", str(error), ABSENT)
    said = f"{len(some) - len(failed):,} of {len(some):,}"
    said += "".join(f"\n{path}: {reason}" for path, reason in failed[:NAMED])
    of = "all" if len(some) == len(paths) else f"{len(some):,} of {len(paths):,}, spread evenly"
    return Row("photographs that can be decoded", of, said, DIFFERS if failed else OK)


# --- what each reader finds ---------------------------------------------------------------------


def survey(reader: str, args: Any) -> Found:
    """Return what a reader finds without preparing it; DataError where it refuses."""
    if reader in SURVEYS:
        return SURVEYS[reader](args)
    module: Any = importlib.import_module(registry.module_path("data set", reader))
    if not hasattr(module, "survey"):
        raise ConfigError(f"data set {reader!r} is made by Reprise: there is nothing to check")
    found = module.survey(args)
    counts = {split: len(listing.paths) for split, listing in found.splits.items()}
    paths = [path for listing in found.splits.values() for path in listing.paths]
    return Found(found.classes, counts, paths)


def _cifar(args: cifar.Args) -> Found:
    _, classes, parts = cifar.read(args)
    return Found(classes, {split: len(labels) for split, (_, labels) in parts.items()})


def _image_folder(args: image_folder.Args) -> Found:
    root = image_folder.find(args.root)
    classes = image_folder.class_folders(root)
    listings = {
        split: image_folder.list_files(root / name, classes)
        for split, name in image_folder.SPLITS.items()
    }
    counts = {split: len(listing.paths) for split, listing in listings.items()}
    paths = [path for listing in listings.values() for path in listing.paths]
    return Found(image_folder.class_names(root, classes), counts, paths)


def _imagenet_real(args: imagenet_real.Args) -> Found:
    root, classes, listing = imagenet_real.photographs(args)
    answers, paths = imagenet_real.read_answers(root / args.labels), listing.paths
    if len(paths) != len(answers):
        raise DataError(
            f"{root / args.labels}: labels of {len(answers)} photographs, val/ has {len(paths)}"
        )
    return Found(classes, {"test": sum(map(bool, answers))}, paths)


def _captioned_photos(args: captioned_photos.Args) -> Found:
    root = captioned_photos.find(args)
    photos = captioned_photos.read(root, args, lambda _: None)
    photos = [photo for photo in photos if photo.split in captioned_photos.SPLITS]
    captioned_photos._check_present(root, args, photos)
    return _captions(root, photos)


def _captions(root: Path, photos: list[captioned_photos.Photo]) -> Found:
    splits = [photo.split for photo in photos]
    counts = {split: splits.count(split) for split in captioned_photos.SPLITS if split in splits}
    return Found(("photo",), counts, [str(root / photo.name) for photo in photos])


def _flickrstyle10k(args: flickrstyle10k.Args) -> Found:
    entries = flickrstyle10k.read(args)
    root = origin.place(args.root)
    names = [str(entry["file_name"]) for entry in entries]
    missing = [name for name in names if not (root / args.images / name).is_file()]
    if missing:
        raise DataError(
            f"{root / args.images}: {len(missing)} of the {len(names)} photographs are not there: "
            f"{', '.join(missing[:NAMED])}"
        )
    below = [str(Path(args.images, name)) for name in names]
    test = len(captioned_photos.draw(below, args.seed))
    paths = [str(root / name) for name in below]
    return Found(("photo",), {"train": len(names) - test, "test": test}, paths)


def _mask_pairs(args: mask_pairs.Args) -> Found:
    root = mask_pairs.find(args)
    classes = mask_pairs.classes_in(root, args.classes, args.offset, args.ignore)
    findings, counts, paths = Findings(root, root, args.most_corrupt), {}, list[str]()
    for split in args.images:
        listing = mask_pairs.match(root, split, args, findings)
        counts[split] = len(listing.pairs)
        for pair in listing.pairs:
            paths += [pair.photo, pair.mask]
    _refuse_odd(root, findings)
    return Found(tuple(classes.values()), counts, paths)


def _refuse_odd(root: Path, findings: Findings) -> None:
    """Refuse what the findings call damaged, without writing their lists into the root."""
    if findings.damaged:
        first = "; ".join(" ".join(line.split("\t")) for line in findings.damaged[:NAMED])
        raise DataError(f"{root}: {len(findings.damaged)} files without a partner: {first}")


def _coco_objects(args: coco_objects.Args) -> Found:
    root = coco_objects.find(args)
    counts, paths, categories = {}, list[str](), dict[int, str]()
    for split, file in args.files.items():
        content = coco_objects.read_json(root / file)
        categories |= {one["id"]: one["name"] for one in content["categories"]}
        names = [f"{args.images[split]}/{entry['file_name']}" for entry in content["images"]]
        missing = [name for name in names if not (root / name).is_file()]
        if missing:
            raise DataError(
                f"{root}: {len(missing)} of the {len(names)} photos that {file} names are not "
                f"there: {', '.join(missing[:NAMED])}"
            )
        counts[split] = len(names)
        paths += [str(root / name) for name in names]
    return Found(tuple(categories[id_] for id_ in sorted(categories)), counts, paths)


SURVEYS: dict[str, Callable[[Any], Found]] = {
    "captioned_photos": _captioned_photos,
    "cifar": _cifar,
    "coco_objects": _coco_objects,
    "flickrstyle10k": _flickrstyle10k,
    "image_folder": _image_folder,
    "imagenet_real": _imagenet_real,
    "mask_pairs": _mask_pairs,
}
