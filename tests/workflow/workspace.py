"""A whole workspace in a temporary folder, run as a user runs it: by command."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reprise.config import Project, load_project

REPOSITORY = Path(__file__).parents[2]
TRACKED = (
    "Snakefile",
    "workflow",
    "profiles",
    "params",
    "src",
    "dvc.yaml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
)
MASK_RATE = "  mae-time:\n    extends: mae\n"


@dataclass(frozen=True)
class Workspace:
    """A folder with its own parameters, workflow and sources; commands use those sources."""

    root: Path

    @property
    def project(self) -> Project:
        return load_project(self.root, "smoke")

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("REPRISE_", "MLFLOW_"))}
        author = {
            f"GIT_{who}_{what}": "a@b.c"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
        return {
            **clean,
            **author,
            "PATH": path,
            "PYTHONPATH": str(self.root / "src"),
            "DVC_NO_ANALYTICS": "1",
        }

    def run(self, *command: str, fails: bool = False, **more: str) -> str:
        """Run a command here; return what it printed, both streams together."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def snakemake(self, *arguments: str, config: str = "scale=smoke", fails: bool = False) -> str:
        command = (sys.executable, "-m", "snakemake", *arguments, "--config", config)
        return self.run(*command, fails=fails)

    def reprise(self, *arguments: str, fails: bool = False, **more: str) -> str:
        command = (sys.executable, "-m", "reprise", *arguments, "--scale", "smoke")
        return self.run(*command, fails=fails, **more)

    def planned(self, *arguments: str) -> list[str]:
        """Return the jobs that a dry run lists, sorted; `all` itself is left out."""
        said = self.snakemake("-n", *arguments)
        jobs = re.findall(r"^Job \d+: (.*)$", said, flags=re.MULTILINE)
        assert bool(jobs) != ("Nothing to be done" in said), said
        return sorted(job for job in jobs if not job.startswith("all:"))

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) >= 1, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def edit_mask_rate(self) -> None:
        """Change one setting of one run, mae-time."""
        self.edit(
            "params/papers/can.yaml", MASK_RATE, f"{MASK_RATE}    objective: {{mask_rate: 0.5}}\n"
        )

    def copy(self, target: Path) -> "Workspace":
        shutil.copytree(self.root, target, symlinks=True)
        return Workspace(target)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def clone(self, target: Path) -> "Workspace":
        self.run("git", "clone", "--quiet", str(self.root), str(target))
        return Workspace(target)
