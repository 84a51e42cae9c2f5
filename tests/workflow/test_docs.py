"""Every command of README and docs is run here, at scale smoke where it runs the pipeline, or it is
said why not. A command that is new or misspelt fails until somebody has decided.
"""

import re
import shlex

import pytest
from workspace import REPOSITORY, Workspace

PROGRAMS = ("snakemake", "python -m reprise", "make", "dvc")
SMOKE = " --config scale=smoke"

# In the order in which they are run, in a copy of a workspace whose scale smoke is built and
# pushed: what the documentation says, and what stands for it there ("": the same).
RUN = {
    "snakemake --cores all": SMOKE,
    "snakemake --cores all can": SMOKE,
    "snakemake --cores all sweeps": " -n" + SMOKE,
    "snakemake --cores all reference": " -n" + SMOKE,
    "snakemake --cores all --config scale=smoke": "",
    "snakemake -n": SMOKE,
    "python -m reprise --help": "",
    "python -m reprise check --scale smoke": "",
    "python -m reprise check --scale gpu": "",
    "python -m reprise check --scale paper": "",
    "python -m reprise schema --write": "",
    "python -m reprise licences --scale paper": "",
    "python -m reprise plan --scale paper deit3": "",
}

# What is not run, and why.
LEFT = {
    "make reproduce": "installs",
    "make reproduce CPU=1": "installs",
    "make setup": "installs",
    "make quick": "installs, then runs what is run here",
    "make test": "runs this",
    "make drills": "tests of their own",
    "make ui": "a server, opened in test_mlflow_ui",
}


def commands(text: str) -> list[str]:
    """Return the commands of a document: lines of shell blocks, and what stands in backticks."""
    found: list[str] = []
    fence = None
    for line in text.splitlines():
        if line.startswith("```"):
            fence = line[3:].strip() if fence is None else None
        elif fence is None:
            found += re.findall(r"`([^`]+)`", line)
        elif fence in ("", "bash"):
            found.append(re.split(r"\s+#", line)[0].strip())
    begins = re.compile(rf"({'|'.join(PROGRAMS)}) \S")
    return [one for one in dict.fromkeys(found) if begins.match(one)]


def documented() -> list[str]:
    files = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
    return list(dict.fromkeys(c for file in files for c in commands(file.read_text("utf-8"))))


def test_every_documented_command_is_known() -> None:
    known = RUN.keys() | LEFT.keys()
    assert sorted(set(documented()) - known) == [], "in no list of this file"
    assert sorted(known - set(documented())) == [], "in no document"


@pytest.fixture(scope="module")
def workspace(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return built.copy(tmp_path_factory.mktemp("documented") / "workspace")


@pytest.mark.parametrize("command", RUN)
def test_a_documented_command_runs(workspace: Workspace, command: str) -> None:
    workspace.run(*shlex.split(command + RUN[command]))
