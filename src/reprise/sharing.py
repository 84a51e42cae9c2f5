"""Results in and out of this workspace through DVC; what comes in is judged before it counts.

DVC moves bytes and checks their hashes. It knows nothing of settings, and Snakemake has no record
of files that it did not make. So `pull` compares digests and tells Snakemake, job by job, which
files are current; files made by other settings, sources or data are marked out of date.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reprise import locks, metrics, selection, status
from reprise.config import Project, read_yaml
from reprise.errors import RepriseError
from reprise.progress import say
from reprise.selection import Selection
from reprise.status import Item

PULL_SOURCE = "pull-source"  # DVC's name, in this clone only, for a remote that is not the default
OUT_OF_DATE = 1.0  # modification time in seconds since 1970: older than any input
_TOLD = 10  # stale results listed by name


class SharingError(RepriseError):
    """DVC or its remote cannot do what was asked; the message says why and what to do."""


@dataclass(frozen=True)
class _Object:
    """A file as dvc.lock records it: its name in the workspace, and its place in DVC's cache."""

    name: str
    md5: str  # of its bytes, followed by '.dir' for a folder's list of files
    cached: Path

    @property
    def is_damaged(self) -> bool:
        """Say whether the cache has it, with other bytes than its name promises."""
        if not self.cached.is_file():
            return False
        with self.cached.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        return found.hexdigest() != self.md5.removesuffix(".dir")


def push(project: Project, target: str | None = None) -> None:
    """Record this scale's results in dvc.lock and send them to DVC's default remote.

    ``target`` is a paper or paper/table; a table goes with its paper. Raises SharingError when
    nothing is built yet, DVC fails or its cache is damaged, ConfigError for an unknown target,
    LockedError while a run goes on.
    """
    wanted = selection.select(project, target)
    with locks.take_driver(project.root):
        built = [slug for slug in wanted.papers if (project.results / slug).is_dir()]
        if not built:
            raise SharingError(f"{project.results}: nothing is built; run `snakemake --cores all`")
        for slug in built:
            metrics.write(project, slug)
        folders = _stages(project, wanted)
        stages = [name for name, folder in folders.items() if folder.is_dir()]
        unfinished = [
            item
            for item in status.summary(project)
            if wanted.covers(item)
            and (item.state == "stale" or (item.state == "missing" and item.headline))
        ]
        if unfinished:
            say(f"note: {len(unfinished)} results are stale or missing, see `reprise status`")
        _record(project, stages)
        _dvc(project, "push", *stages)
    say(f"sent {wanted.name}: {', '.join(stages)}. Commit dvc.lock: it tells a clone what to pull.")


def pull(project: Project, remote: str | None = None, target: str | None = None) -> None:
    """Fetch the results that dvc.lock records and mark as up to date those that are current.

    ``remote`` is a folder or URL to fetch from instead of DVC's default remote. Where the default
    is a folder that this clone lacks, the one in a local git origin is used. ``target`` is a paper
    or paper/table; a table comes with its paper. Raises SharingError with what to do when nothing
    is recorded, nothing can be reached, or a file is damaged, ConfigError for an unknown target.
    """
    wanted = selection.select(project, target)
    with locks.take_driver(project.root):
        stages = _recorded(project, wanted)
        _fetch(project, stages, _remote_options(project, remote))
        items = [item for item in status.summary(project) if wanted.covers(item)]
        stale = [item for item in items if item.state == "stale"]
        current = [item for item in items if item.state == "current"]
        _mark_out_of_date(project, stale)
        _mark_current(project, current)
        for item in stale[:_TOLD]:
            say(f"stale: {item.step} {item.paper}/{item.key}: {item.why}")
        if len(stale) > _TOLD:
            say(f"stale: {len(stale) - _TOLD} more, see `python -m reprise status`")
        say(f"pulled: {len(current)} of {len(current) + len(stale)} results are current")
        needed = [item for item in items if item.headline and item.step != "data"]
        if any(item.state != "current" for item in needed):
            say("`snakemake -n` lists what is to be built, `snakemake --cores all` builds it")
        elif target is None:
            say("building the report and MLflow's store from them")
            _snakemake(project, "report", "track")


def _stages(project: Project, wanted: Selection) -> dict[str, Path]:
    """Return the stages of dvc.yaml that hold what is wanted, and its data, with their folders."""
    declared = read_yaml(project.root / "dvc.yaml")["stages"]
    stages = {f"{slug}@{project.scale.scale}": project.results / slug for slug in wanted.papers}
    for name in stages:
        slug, _, scale = name.partition("@")
        if scale not in declared.get(slug, {}).get("foreach", {}):
            raise SharingError(f"dvc.yaml: stages.{slug}.foreach has no entry {scale!r}; add one")
    for home in sorted(wanted.data):  # large public sets need not be shared
        if home in declared["data"]["foreach"]:
            stages[f"data@{home}"] = project.data_root / home
    return stages


def _recorded(project: Project, wanted: Selection) -> list[str]:
    """Return the stages of what is wanted that dvc.lock records."""
    lock = project.root / "dvc.lock"
    recorded = read_yaml(lock)["stages"] if lock.is_file() else {}
    stages = [name for name in _stages(project, wanted) if name in recorded]
    if not any(name.endswith(f"@{project.scale.scale}") for name in stages):
        raise SharingError(
            f"{lock} records no results of {wanted.name} "
            f"(recorded: {', '.join(sorted(recorded)) or 'nothing'}). "
            "Pull the git branch of someone who ran `python -m reprise push`, or build them."
        )
    return stages


def _record(project: Project, stages: Sequence[str]) -> None:
    """Let DVC take the stages' files into its cache and dvc.lock, and see that the cache is sound.

    DVC takes a file that it has under the same hash as had, without looking at it; so what is
    damaged there is thrown away, and taken anew from the workspace.
    """
    _dvc(project, "commit", "--force", *stages)
    if not _throw_away_damaged(project, stages):
        return
    _dvc(project, "commit", "--force", *stages)
    lost = [one.name for one in _objects(project, stages) if not one.cached.is_file()]
    if lost:
        raise SharingError(
            f"{len(lost)} files were damaged in DVC's cache and could not be replaced:\n"
            f"{_shown(lost)}\nBuild them again: `snakemake --cores all`."
        )


def _objects(project: Project, stages: Sequence[str]) -> Iterator[_Object]:
    """Yield what dvc.lock records of stages: each folder's list of files, then the files that it
    lists where the cache has it."""
    cache = Path(_dvc(project, "cache", "dir").strip()) / "files" / "md5"
    recorded = read_yaml(project.root / "dvc.lock")["stages"]

    def named(name: str, md5: str) -> _Object:
        return _Object(name, md5, cache / md5[:2] / md5[2:])

    for out in (out for name in stages for out in recorded[name]["outs"]):
        listing = named(f"{out['path']} (its list of files)", out["md5"])
        yield listing
        if listing.cached.is_file() and not listing.is_damaged:
            for entry in json.loads(listing.cached.read_text(encoding="utf-8")):
                yield named(f"{out['path']}/{entry['relpath']}", entry["md5"])


def _throw_away_damaged(project: Project, stages: Sequence[str]) -> list[str]:
    """Remove what is damaged in DVC's cache, which never looks again at what it has; name it."""
    damaged = [one for one in _objects(project, stages) if one.is_damaged]
    for one in damaged:
        one.cached.unlink()
    names = [one.name for one in damaged]
    if names:
        say(f"damaged in DVC's cache, and not used from there ({len(names)}):\n{_shown(names)}")
    return names


def _shown(names: Sequence[str]) -> str:
    more = [f"  and {len(names) - _TOLD} more"] if len(names) > _TOLD else []
    return "\n".join([*(f"  {name}" for name in names[:_TOLD]), *more])


def _remote_options(project: Project, remote: str | None) -> list[str]:
    """Return DVC's options that name where to fetch from; [] is its default remote."""
    if remote is None:
        default = _default_remote(project)
        if default is None or default.is_dir():
            return []
        origin = _origin_folder(project)
        beside = origin / default.name if origin else None
        if beside is None or not beside.is_dir():
            raise SharingError(
                f"DVC's default remote, {default}, does not exist in this clone. Say where the "
                "results are: `python -m reprise pull --remote FOLDER-OR-URL`."
            )
        say(f"{default} does not exist here; pulling from {beside}, beside git's origin")
        remote = str(beside)
    elif "://" not in remote:
        if not Path(remote).is_dir():
            raise SharingError(f"--remote {remote}: no such folder (a URL has ://)")
        remote = str(Path(remote).resolve())
    _dvc(project, "remote", "add", "--local", "--force", "--quiet", PULL_SOURCE, remote)
    _dvc(project, "remote", "modify", "--local", PULL_SOURCE, "verify", "true")
    return ["--remote", PULL_SOURCE]


def _default_remote(project: Project) -> Path | None:
    """Return the folder of DVC's default remote, or None where it is no folder."""
    name = _dvc(project, "config", "core.remote").strip()
    url = _dvc(project, "config", f"remote.{name}.url").strip()
    return None if "://" in url else Path(url)


def _origin_folder(project: Project) -> Path | None:
    """Return the folder that this repository was cloned from, where it is one on this machine."""
    ask = ["git", "config", "--get", "remote.origin.url"]
    done = subprocess.run(ask, cwd=project.root, capture_output=True, text=True, check=False)
    folder = project.root / done.stdout.strip().removeprefix("file://")
    return folder if done.returncode == 0 and folder.is_dir() else None


def _fetch(project: Project, stages: Sequence[str], options: Sequence[str]) -> None:
    _throw_away_damaged(project, stages)
    try:
        _dvc(project, "pull", *options, *stages)
    except SharingError as error:
        if "unsaved files" in str(error):
            raise SharingError(
                f"{error}\nThese results here were never pushed. Push them, or move "
                f"{project.results} away, then pull again."
            ) from error
        lost = [one.name for one in _objects(project, stages) if not one.cached.is_file()]
        if not lost:
            raise
        raise SharingError(
            f"{len(lost)} files are absent or damaged in the remote: their content does not have "
            f"the recorded hash. Nothing of their stage was taken.\n{_shown(lost)}\n"
            "Ask for another `python -m reprise push`, or build: `snakemake --cores all`."
        ) from error


def _mark_current(project: Project, items: Sequence[Item]) -> None:
    """Let Snakemake record files as made by the present settings. All that they were made from is
    among the items, too, so that nothing else is blessed on the way."""
    if items:
        targets = [str(item.files[0].relative_to(project.root)) for item in items]
        _snakemake(project, *targets, "--touch", "--force")


def _mark_out_of_date(project: Project, items: Sequence[Item]) -> None:
    """Make Snakemake build files again: no record of them, and older than all their inputs."""
    files = [path for item in items for path in item.files]
    if files:
        names = [str(path.relative_to(project.root)) for path in files]
        with suppress(SharingError):  # it cleans what has a record and fails for what has none
            _snakemake(project, "--cleanup-metadata", *names)
        for path in files:
            os.utime(path, (OUT_OF_DATE, OUT_OF_DATE))


def _dvc(project: Project, *arguments: str) -> str:
    return _tool(project, "dvc", *arguments)


def _snakemake(project: Project, *arguments: str) -> None:
    scale = f"scale={project.scale.scale}"
    _tool(project, "snakemake", *arguments, "--cores", "1", "--config", scale)


def _tool(project: Project, module: str, *arguments: str) -> str:
    """Run a tool of this Python's environment in the workspace; return its standard output."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", locks.DRIVER_IS_PARENT: "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=project.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise SharingError(f"`{module} {' '.join(arguments[:3])} ...` failed:\n{said}")
    return done.stdout
