"""Every command of README and docs is run here, at scale smoke where it runs the pipeline, or it is
said why not. A command that is new or misspelt fails until somebody has decided.
"""

import re
import shlex

import pytest
from workspace import REPOSITORY, Workspace

PROGRAMS = ("snakemake", "python -m reprise", "make", "dvc")

# Run in a copy of a built workspace whose scale is smoke, in this order; "" is: as it stands.
RUN = {
    "snakemake --cores all": "",
    "snakemake --cores all can": "",
    "snakemake --cores all --config scale=smoke": "",
    "snakemake --cores all sweeps": "snakemake --cores all sweeps -n",
    "snakemake --cores all reference": "snakemake --cores all reference -n",
    "snakemake -n": "",
    "snakemake -n can --config scale=smoke": "",
    "python -m reprise --help": "",
    "python -m reprise check --scale smoke": "",
    "python -m reprise check --scale gpu": "",
    "python -m reprise check --scale paper": "",
    "python -m reprise schema --write": "",
    "python -m reprise plan": "",
    "python -m reprise plan --scale demo": "python -m reprise plan --scale smoke",
    "python -m reprise plan --scale paper": "python -m reprise plan --scale smoke",
    "python -m reprise plan --scale paper deit3": "python -m reprise plan --scale smoke deit3",
    "python -m reprise plan can/imagenet --scale paper --gpus 8": (
        "python -m reprise plan can/imagenet --scale smoke --gpus 8"
    ),
    'python -m reprise plan "can/imagenet/CAN" --scale paper': (
        "python -m reprise plan can/imagenet/CAN --scale smoke"
    ),
    "python -m reprise plan can/segment-can --scale gpu": (
        "python -m reprise plan can/segment-can --scale smoke"
    ),
    "python -m reprise plan --scale paper --on a100 --utilisation 0.35 --json": (
        "python -m reprise plan --scale smoke --on a100 --utilisation 0.35 --json"
    ),
    "python -m reprise licences": "",
    "python -m reprise licences --scale paper": "",
    "python -m reprise licences --scale paper --json": "",
    "python -m reprise power": "",
    "python -m reprise bench can": "python -m reprise bench can --seconds 0.1",
    "python -m reprise bench training deit3/b-800 can/can --scale paper": (
        "python -m reprise bench training can/can --scale smoke --images 8 --seconds 0.1"
    ),
    "python -m reprise report --scale gpu": "python -m reprise report --scale smoke",
    "python -m reprise track": "",
    "python -m reprise metrics can": "",
    "python -m reprise show can/imagenet": "",
    "dvc remote modify --help": "",
}

INSTALLS, SERVER = "installs", "a server: test_mlflow_ui opens it"
SHARED, GPU = "run in test_pull_push", "wants photographs that are not here: see test_scales"
OWN = "wants a user's photographs: the settings are read in unit/test_docs"
# What is not run here, and why.
LEFT = {
    "make reproduce": INSTALLS,
    "make reproduce CPU=1": INSTALLS,
    "make setup": INSTALLS,
    "make quick": "installs, then does what is done here",
    "make test": "runs this",
    "make drills": "tests of their own",
    "make ui": SERVER,
    "python -m reprise ui": SERVER,
    "python -m reprise snapshot": "no result at scale smoke: test_reference",
    "python -m reprise track --rebuild": "run in test_track",
    "python -m reprise convert litv2": "wants a file: test_convert",
    "python -m reprise convert litv2 FILE": "wants a file: test_convert",
    "python -m reprise convert litv2 <file>": "wants a file: test_convert",
    "python -m reprise data <data set> --get --root <folder>": "wants a network: test_data_get",
    "python -m reprise data <set> --get": "wants a network: test_data_get",
    "python -m reprise data <set> --check": "wants the public photographs: test_data_check",
    "python -m reprise check --scale mine": OWN,
    "python -m reprise data photos --scale mine": OWN,
    "snakemake -n results/mine/can/eval/can/seed0/linear_probe.json --config scale=mine": OWN,
    "snakemake --cores all results/mine/can/eval/can/seed0/linear_probe.json"
    " --config scale=mine": OWN,
    "snakemake --cores all x --config scale=smoke": "x stands for a fifth paper",
    "python -m reprise push": SHARED,
    "python -m reprise pull": SHARED,
    "python -m reprise push can": SHARED,
    "python -m reprise pull can": SHARED,
    "python -m reprise push can/imagenet": SHARED,
    "python -m reprise pull can/imagenet": SHARED,
    "dvc pull": SHARED,
    "dvc params diff": SHARED,
    "dvc metrics show": SHARED,
    "dvc metrics diff": SHARED,
    "dvc metrics show results/demo/can/metrics/imagenet": SHARED,
    "dvc plots show": SHARED,
    "dvc repro": "builds the demo, too",
    "dvc repro can@smoke": SHARED,
    'dvc repro --glob "*@smoke"': SHARED,
    "dvc remote modify default url s3://bucket/reprise": SHARED,
    "snakemake --cores all --config scale=gpu rehearse=true": "hours: test_rehearsal",
    "snakemake --cores all --config scale=paper rehearse=true": "hours: test_rehearsal",
    "python -m reprise rehearsal --scale gpu": "after a rehearsal: test_rehearsal",
    "snakemake --cores all litv2 --profile workflow/profiles/gpu --config scale=gpu": GPU,
    "snakemake --cores all capdec --profile workflow/profiles/gpu --config scale=gpu": GPU,
    "snakemake --cores all sweeps --profile workflow/profiles/gpu --config scale=gpu": GPU,
    "snakemake --cores all results/paper/deit3/eval/b-800-384/seed0/classify-384.json"
    " --config scale=paper": GPU,
    "snakemake --cores all results/paper/litv2/eval/official-s/seed0/classify.json"
    " --config scale=paper": GPU,
    "snakemake --cores all results/paper/deit3/tables/resolution.md --config scale=paper": GPU,
    "python -m reprise train litv2/official-s --scale paper"
    " && python -m reprise evaluate litv2/official-s --scale paper": GPU,
    "python -m reprise data imagenet_val --scale paper": GPU,
    "snakemake --cores all results/gpu/capdec/eval/romantic/seed0/caption-romantic.json"
    " --profile workflow/profiles/gpu --config scale=gpu": GPU,
    "snakemake --cores all results/gpu/litv2/eval/semantic-fpn-scratch/seed0/segment.json"
    " --profile workflow/profiles/gpu --config scale=gpu": GPU,
    "python -m reprise data dense --scale gpu": GPU,
    "python -m reprise train litv2/semantic-fpn-scratch --scale gpu": GPU,
    "python -m reprise evaluate litv2/semantic-fpn-scratch --scale gpu": GPU,
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
    workspace = built.copy(tmp_path_factory.mktemp("documented") / "workspace")
    workspace.edit("params/config.yaml", "scale: demo", "scale: smoke")
    return workspace


@pytest.mark.parametrize("command", RUN)
def test_a_documented_command_runs(workspace: Workspace, command: str) -> None:
    workspace.run(*shlex.split(RUN[command] or command))
