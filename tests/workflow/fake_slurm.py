"""Slurm's commands as far as Snakemake's executor uses them; each call is noted, jobs run here.

A folder of links to this file, each with a command's name, goes before PATH. What it needs lies in
`FAKE_SLURM`: calls.jsonl, and a folder of jobs with the state of each. With `FAKE_SLURM_ONLY=note`
jobs are noted and fail without having run.

Two nodes are two processes here: `srun` starts a command once for each task of --nodes=<n>.
"""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ.get("FAKE_SLURM", "."))


def note(command: str, arguments: list[str]) -> None:
    line = json.dumps([command, *arguments]) + "\n"
    handle = os.open(HOME / "calls.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, line.encode())
    os.close(handle)


def sbatch(arguments: list[str]) -> int:
    """Run a job's script in the background, as a node would, and print its number."""
    jobs = HOME / "jobs"
    jobs.mkdir(exist_ok=True)
    number = str(1 + len(list(jobs.iterdir())))
    state = jobs / number
    state.write_text("RUNNING")
    wrapped = next(one.removeprefix("--wrap=") for one in arguments if one.startswith("--wrap="))
    script = f"({wrapped}) && s=COMPLETED || s=FAILED; printf $s > {state}"
    if os.environ.get("FAKE_SLURM_ONLY") == "note":
        script = f"printf FAILED > {state}"
    log = Path(arguments[arguments.index("--output") + 1].replace("%j", number))
    with log.open("w") as stream:
        environment = {**os.environ, "SLURM_JOB_ID": number, "SLURM_JOB_NODELIST": "lost-by-srun"}
        subprocess.Popen(
            ["bash", "-c", script],
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,
        )
    print(number)
    return 0


def srun(arguments: list[str]) -> int:
    """Run a command once for each node, with what Slurm tells a task of its place."""
    options = list(itertools.takewhile(lambda one: one.startswith("-"), arguments))
    command = arguments[len(options) :]
    nodes = int(re.search(r"--nodes=(\d+)", " ".join(options))[1])  # type: ignore[index]
    tasks = []
    for node in range(nodes):
        place = {"SLURM_NNODES": str(nodes), "SLURM_NODEID": str(node)}
        place |= {"SLURM_STEP_NODELIST": f"node[1-{nodes}]"}
        tasks.append(subprocess.Popen(command, env={**os.environ, **place}))
    return max(abs(task.wait()) for task in tasks)


def sacct(arguments: list[str]) -> int:
    for job in sorted((HOME / "jobs").glob("*")):
        print(f"{job.name}|{job.read_text()}")
    return 0


def scontrol(arguments: list[str]) -> int:
    """Say which hosts a list of nodes names: this one, as many times."""
    if arguments[:2] == ["show", "hostnames"]:
        print("127.0.0.1\n127.0.0.1")
    return 0


def sinfo(arguments: list[str]) -> int:
    """Say that there is one partition, which is the default."""
    print("all*")
    return 0


def sacctmgr(arguments: list[str]) -> int:
    return 0


COMMANDS = {one.__name__: one for one in (sbatch, srun, sacct, scontrol, sinfo, sacctmgr)}


def install(folder: Path) -> None:
    """Fill a folder that goes before PATH."""
    folder.mkdir()
    for name in COMMANDS:
        file = folder / name
        file.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        file.chmod(0o755)


if __name__ == "__main__":
    name, given = sys.argv[1], sys.argv[2:]
    note(name, given)
    sys.exit(COMMANDS[name](given))
