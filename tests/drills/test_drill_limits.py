"""The bounds of the drills themselves: what hangs fails, and leaves no process behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import watchdog

pytestmark = pytest.mark.quick

HANGS = """
import signal, subprocess, sys
from pathlib import Path
from limits import Limits
from watchdog import carriers

def test_that_hangs():
    deaf = {deaf}
    limits = Limits()
    Path("mark").write_text(limits.mark)
    child = subprocess.Popen(["sh", "-c", "sleep 1000 & echo; wait"], stdout=subprocess.PIPE)
    child.stdout.readline()
    assert len(carriers(limits.mark)) == 2
    with limits.limit(1, grace=1 if deaf else 600):
        if deaf:  # as code of a library may be that waits for a lock
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            signal.sigwait([signal.SIGUSR1])
        child.wait()
"""


@pytest.mark.parametrize("deaf", [False, True])
def test_a_drill_that_hangs_fails_and_its_processes_are_killed(tmp_path: Path, deaf: bool) -> None:
    file = tmp_path / "test_hangs.py"
    file.write_text(HANGS.format(deaf=deaf))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir=.", file.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(watchdog.__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    expected, said = (
        (-signal.SIGABRT, "in test_that_hangs")
        if deaf
        else (1, "it took more than 1 s, and its processes were killed")
    )
    assert done.returncode == expected, done.stdout
    assert said in done.stdout
    assert watchdog.carriers((tmp_path / "mark").read_text()) == []
