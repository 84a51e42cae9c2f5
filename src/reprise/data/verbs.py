"""What `reprise data` does beside preparing: fetch, check, pack."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.config import Dataset, Project
from reprise.data import base, check, get, origin, pack, public
from reprise.data.public import Entry
from reprise.errors import ConfigError, DataError, at_scale, unknown
from reprise.progress import say

DEFAULT_SIZE = 224  # of what is only looked at


@dataclass(frozen=True)
class Chosen:
    """A data set by the name that a user gave: its reader and arguments, and what is known of it.

    ``alias`` is the scale's entry, if the name is one of the scale's.
    """

    name: str
    reader: str
    args: dict[str, Any]
    alias: Dataset | None
    entry: Entry | None


def find(project: Project, name: str, root: Path | None = None) -> Chosen:
    """Return the data set of an alias or folder of the scale, else of the public ones.

    ``root`` takes the place of the scale's; one of the public ones lies below
    ``<data_root>/raw`` unless it is given. ConfigError where neither knows the name.
    """
    aliases = project.scale.datasets
    by_folder = {dataset.home: dataset for dataset in aliases.values()}
    alias = aliases.get(name) or by_folder.get(name)
    if alias is not None:
        args, entry = dict(alias.args), public.of(alias.name, alias.args)
        if root is not None:
            args["root"] = str(root.absolute())
        return Chosen(name, alias.name, args, alias, entry)
    entry = public.by_name(name, {**aliases, **by_folder})
    args = {**entry.args, "root": str((root or project.data_root / "raw" / name).absolute())}
    return Chosen(name, entry.reader, args, None, entry)


def fetch(chosen: Chosen, keep_archives: bool) -> None:
    """Fetch a data set to its root. Raises DataError where it is not to be had so."""
    if chosen.entry is None:
        raise ConfigError(
            f"data set {chosen.name!r}: nothing is known of where it is to be had; --get knows "
            f"{', '.join(public.entries())}"
        )
    root = _root(chosen)
    get.get(chosen.entry, _outer(root, chosen.entry), say, keep_archives)


def _root(chosen: Chosen) -> Path:
    if "root" not in chosen.args:
        raise ConfigError(
            f"data set {chosen.name!r} has no root: "
            f"`python -m reprise data {chosen.name}{at_scale()}` makes it"
        )
    return origin.place(str(chosen.args["root"]))


def _outer(root: Path, entry: Entry) -> Path:
    """Return where archives are unpacked: a root may name the very folder that one unpacks to."""
    inner = {name for archive in entry.archives for name in archive.makes}
    return root.parent if root.name in inner else root


def look(chosen: Chosen, images: int | None) -> bool:
    """Print what of a data set is there; return whether all is as expected."""
    _root(chosen)
    args = dict(chosen.args)
    if chosen.entry is not None and chosen.alias is None:
        args = _placed(args, chosen.entry)
        if _takes_size(chosen.reader):
            args.setdefault("size", DEFAULT_SIZE)
    title = chosen.entry.title if chosen.entry else chosen.name
    rows = check.check(chosen.reader, args, chosen.entry, images)
    return check.show(f"{title}, {origin.place(str(args['root']))}", rows)


def _takes_size(reader: str) -> bool:
    from reprise import registry

    return "size" in registry.load("data set", reader).Args.model_fields


def _placed(args: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
    """Return the arguments with the folder that an archive unpacks to, where the reader wants it.

    Of ADE20K's archive the root is `ADEChallengeData2016`.
    """
    root, names = Path(str(args["root"])), [name for a in entry.archives for name in a.makes]
    first = args.get("images")
    below = next(iter(first.values())) if isinstance(first, dict) else None
    if below and not (root / below).is_dir():
        for name in names:
            if (root / name / below).is_dir():
                return {**args, "root": str(root / name)}
    return dict(args)


def prepare(project: Project, chosen: Chosen) -> Path:
    """Prepare a data set of the scale; ConfigError where it is not the scale's."""
    if chosen.alias is None:
        raise ConfigError(
            f"{unknown('data set', chosen.name, project.scale.datasets)}; only those of scale "
            f"{project.scale.scale} are prepared (--get and --check take any)"
        )
    home = chosen.alias.home
    return base.prepare(chosen.reader, project.data_root, chosen.args, say, home)


def pack_all(project: Project, chosen: Chosen) -> None:
    """Pack all splits of a data set of the scale; DataError where it is not kept as files."""
    from reprise.data.photos import PhotoSet

    folder = prepare(project, chosen)
    manifest = base.Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    for split in manifest.splits:
        data = _unpacked_if_need_be(project, chosen, split, folder)
        if not isinstance(data, PhotoSet):
            raise DataError(
                f"data set {chosen.name!r} is kept as arrays in {folder}, few large files that are "
                "mapped already: there is nothing to pack (args.keep: files would be packed)"
            )
        pack.write(folder, data, say)


def _unpacked_if_need_be(
    project: Project, chosen: Chosen, split: str, folder: Path
) -> base.ImageSet:
    """Load a split; where its pack lacks a file or is of other data, from its root."""
    assert chosen.alias is not None
    args, home = chosen.args, chosen.alias.home
    try:
        return base.load(chosen.reader, split, project.data_root, args, home)
    except DataError:
        (folder / pack.FOLDER / f"{split}.json").unlink(missing_ok=True)
        return base.load(chosen.reader, split, project.data_root, args, home)
