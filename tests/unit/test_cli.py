"""The command line: quick help, clear mistakes, and the planner's digest."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reprise.config import load_project
from reprise.plan import RunJob

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "params", tmp_path / "params")
    return tmp_path


def reprise(workspace: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "reprise", *arguments],
        cwd=workspace,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_help_lists_the_verbs_without_the_heavy_imports() -> None:
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom reprise.cli import app\n"
        "said = CliRunner().invoke(app, ['--help']).output\n"
        "heavy = {'torch', 'timm', 'mlflow', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "print(heavy or 'light')\n"
        "print(all(verb in said for verb in ('train', 'evaluate', 'pull', 'bench', 'replay')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["light", "True"], done.stderr


def test_freed_memory_is_used_again_without_new_pages() -> None:
    """The second of two arrays of 64 MB touches 16,000 new pages, or hardly any."""
    program = (
        "import resource, sys\nimport numpy as np\nfrom reprise.__main__ import keep_freed_memory\n"
        "if sys.argv[1] == 'kept':\n    keep_freed_memory()\n"
        "np.ones(2**23)\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "np.ones(2**23)\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", program, how], text=True))
        for how in ("given back", "kept")
    }
    if faults["given back"] < 100:
        pytest.skip("this system's allocator keeps memory by itself, or uses large pages")
    assert faults["kept"] < faults["given back"] / 10


def test_checking_parameters_needs_no_heavy_import() -> None:
    program = (
        "import sys\nfrom reprise import plan\nfrom reprise.config import load_project\n"
        f"project = load_project(__import__('pathlib').Path({str(ROOT)!r}), 'smoke')\n"
        "[job.digest for job in plan.run_jobs(project) + plan.table_jobs(project)]\n"
        "print({'torch', 'timm', 'sklearn', 'mlflow'} & set(sys.modules) or 'light')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "light", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "can/cann"], "did you mean 'can'"),
        (["train", "can"], "write paper/run"),
        (["train", "can/can", "--seed", "-1"], "must be 0 or more"),
        (["train", "can/multi-crop"], "kind: cost"),
        (["benchmark", "can/stepp"], "did you mean 'step'"),
        (["evaluate", "cn/can"], "unknown paper 'cn'"),
        (["table", "can/imagnet"], "did you mean 'imagenet'"),
        (["check", "--scale", "smok"], "did you mean 'smoke'"),
        (["data", "photo", "--scale", "smoke"], "did you mean 'photos'"),
        (["show", "can/imagenet"], "`snakemake --cores all can` builds it"),
        (["show", "litv2/user", "--scale", "gpu"], "all sweeps --config scale=gpu` builds it"),
        (["train", "can/can", "--scale", "smoke", "--expect", "0" * 64], "changed after the plan"),
        (["train", "can/can", "--scale", "smoke"], "reprise data digits --scale smoke`"),
    ],
)
def test_a_mistake_is_told_in_words(workspace: Path, arguments: list[str], said: str) -> None:
    code, output = reprise(workspace, *arguments)
    assert code != 0
    assert said in output
    assert "Traceback" not in output


def test_a_table_of_nothing_says_what_builds_it(workspace: Path) -> None:
    code, said = reprise(workspace, "table", "can/imagenet", "--scale", "smoke")
    assert code == 0
    assert "nothing that it shows is built yet" in said
    assert "`snakemake --cores all can --config scale=smoke`" in said


def test_the_planners_digest_is_accepted(workspace: Path) -> None:
    job = RunJob(load_project(workspace, "smoke"), "can", "pixels", 0)
    assert reprise(workspace, "data", "photos", "--scale", "smoke")[0] == 0
    code, said = reprise(
        workspace, "train", "can/pixels", "--scale", "smoke", "--expect", job.digest
    )
    assert code == 0, said
    assert all(path.is_file() for path in job.outputs)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "size: 256, keep: files}, printed_as: &imagenet-1k",
            "size: 256, keep: arrays}, printed_as: &imagenet-1k",
            "can: runs.can: whole_photographs: data set 'photos' (imagenet) keeps arrays",
        ),
        (
            "whole_photographs: null, augment: {size: 32}",
            "augment: {size: 32}",
            "litv2: runs.size-1: whole_photographs: data set 'cifar100' (cifar) keeps arrays",
        ),
    ],
)
def test_check_finds_whole_photographs_that_are_not_kept(
    workspace: Path, before: str, after: str, said: str
) -> None:
    file = workspace / "params/scales/paper.yaml"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    code, found = reprise(workspace, "check", "--scale", "paper")
    assert code != 0
    assert said in " ".join(found.split())


def test_check_reads_published_numbers_too(workspace: Path) -> None:
    assert reprise(workspace, "check")[0] == 0
    csv = workspace / "params/published/can/imagenet1k.csv"
    csv.write_text(csv.read_text().replace("76.2", "much"))
    code, said = reprise(workspace, "check")
    assert code != 0
    assert "imagenet1k.csv" in said
