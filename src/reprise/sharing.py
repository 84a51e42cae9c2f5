"""Results in and out of this workspace through DVC; what comes in is judged before it counts.

DVC moves bytes and checks their hashes. It knows nothing of settings, and Snakemake has no record
of files that it did not make. So `pull` compares digests and tells Snakemake, job by job, which
files are current; files made by other settings, sources or data are marked out of date.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from reprise import locks, status
from reprise.config import Json, Project, read_yaml
from reprise.errors import RepriseError
from reprise.progress import say
from reprise.status import Item

PULL_SOURCE = "pull-source"  # DVC's name, in this clone only, for a remote that is not the default
OUT_OF_DATE = 1.0  # modification time in seconds since 1970: older than any input
_TOLD = 10  # stale results listed by name


class SharingError(RepriseError):
    """DVC or its remote cannot do what was asked; the message says why and what to do."""


def push(project: Project) -> None:
    """Record this scale's results in dvc.lock and send them to DVC's default remote.

    Raises SharingError when nothing is built yet or DVC fails, LockedError while a run goes on.
    """
    with locks.take_driver(project.root):
        if not any((project.results / slug).is_dir() for slug in project.papers):
            raise SharingError(f"{project.results}: nothing is built; run `snakemake --cores all`")
        stages = [name for name, folder in _stages(project).items() if folder.is_dir()]
        unfinished = [
            item
            for item in status.summary(project)
            if item.state == "stale" or (item.state == "missing" and item.headline)
        ]
        if unfinished:
            say(f"note: {len(unfinished)} results are stale or missing, see `reprise status`")
        _dvc(project, "commit", "--force", *stages)
        _dvc(project, "push", *stages)
    say(f"sent {', '.join(stages)}. Commit dvc.lock: it tells a clone what to pull.")


def pull(project: Project, remote: str | None = None) -> None:
    """Fetch the results that dvc.lock records and mark as up to date those that are current.

    ``remote`` is a folder or URL to fetch from instead of DVC's default remote. Where the default
    is a folder that this clone lacks, the one in a local git origin is used. Raises SharingError
    with what to do when nothing is recorded, nothing can be reached, or a file is damaged.
    """
    with locks.take_driver(project.root):
        stages = _recorded(project)
        _fetch(project, stages, _remote_options(project, remote))
        items = status.summary(project)
        stale = [item for item in items if item.state == "stale"]
        current = [item for item in items if item.state == "current"]
        _mark_out_of_date(project, stale)
        _mark_current(project, current)
        for item in stale[:_TOLD]:
            say(f"stale: {item.step} {item.paper}/{item.key}: {item.why}")
        if len(stale) > _TOLD:
            say(f"stale: {len(stale) - _TOLD} more, see `python -m reprise status`")
        say(f"pulled: {len(current)} of {len(current) + len(stale)} results are current")
        wanted = [item for item in items if item.headline and item.step != "data"]
        if all(item.state == "current" for item in wanted):
            say("building the report and MLflow's store from them")
            _snakemake(project, "report", "track")
        else:
            say("`snakemake -n` lists what is to be built, `snakemake --cores all` builds it")


def _stages(project: Project) -> dict[str, Path]:
    """Return the stages of dvc.yaml that hold this scale's results and data, with their folders."""
    declared = read_yaml(project.root / "dvc.yaml")["stages"]
    wanted = {f"{slug}@{project.scale.scale}": project.results / slug for slug in project.papers}
    for name in wanted:
        slug, _, scale = name.partition("@")
        if scale not in declared.get(slug, {}).get("foreach", {}):
            raise SharingError(f"dvc.yaml: stages.{slug}.foreach has no entry {scale!r}; add one")
    for dataset in project.scale.datasets.values():  # large public sets need not be shared
        if dataset.home in declared["data"]["foreach"]:
            wanted[f"data@{dataset.home}"] = project.data_root / dataset.home
    return wanted


def _recorded(project: Project) -> list[str]:
    """Return this scale's stages that dvc.lock records."""
    lock = project.root / "dvc.lock"
    recorded = read_yaml(lock)["stages"] if lock.is_file() else {}
    stages = [name for name in _stages(project) if name in recorded]
    if not any(name.endswith(f"@{project.scale.scale}") for name in stages):
        raise SharingError(
            f"{lock} records no results at scale {project.scale.scale!r} "
            f"(recorded: {', '.join(sorted(recorded)) or 'nothing'}). "
            "Pull the git branch of someone who ran `python -m reprise push`, or build them."
        )
    return stages


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
    try:
        _dvc(project, "pull", *options, *stages)
    except SharingError as error:
        if "unsaved files" in str(error):
            raise SharingError(
                f"{error}\nThese results here were never pushed. Push them, or move "
                f"{project.results} away, then pull again."
            ) from error
        lost = list(_not_in_cache(project, stages))
        if not lost:
            raise
        shown = "\n".join(f"  {path}" for path in lost[:_TOLD])
        raise SharingError(
            f"{len(lost)} files are absent or damaged in the remote: their content does not have "
            f"the recorded hash. Nothing of their stage was taken.\n{shown}\n"
            "Ask for another `python -m reprise push`, or build: `snakemake --cores all`."
        ) from error


def _not_in_cache(project: Project, stages: Sequence[str]) -> Iterator[str]:
    """Yield the files of stages that DVC did not get, or got and refused."""
    cache = Path(_dvc(project, "cache", "dir").strip()) / "files" / "md5"
    recorded = read_yaml(project.root / "dvc.lock")["stages"]

    def object_file(md5: str) -> Path:
        return cache / md5[:2] / md5[2:]

    for out in (out for name in stages for out in recorded[name]["outs"]):
        listing = object_file(out["md5"])
        if not listing.is_file():
            yield f"{out['path']} (its list of files)"
            continue
        for entry in cast(list[Json], json.loads(listing.read_text(encoding="utf-8"))):
            if not object_file(entry["md5"]).is_file():
                yield f"{out['path']}/{entry['relpath']}"


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
