"""Locks: exclusive between processes, named, freed by a kill, not inherited by children."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reprise import locks
from reprise.errors import RepriseError

HOLD = """
import sys, time
from pathlib import Path
from reprise import locks
with locks.hold(Path(sys.argv[1]), "the run"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "state" / "run.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()


def test_second_process_is_refused_and_told_who_holds_the_lock(holder):
    path, process = holder
    started = time.monotonic()
    held = rf"the run is locked by process {process.pid} on"
    with pytest.raises(RepriseError, match=held) as e, locks.hold(path, "the run"):
        pytest.fail("two holders")
    assert str(path) in str(e.value)
    assert "Wait until it ends" in str(e.value)
    assert time.monotonic() - started < 1


def test_kill_frees_the_lock_and_the_successor_signs_it(holder):
    path, process = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locks.hold(path, "the run"):
        signed = json.loads(path.read_text())
    assert signed["pid"] == os.getpid()
    assert set(signed) == {"pid", "host", "since"}


def test_waiting_takes_its_turn_and_tells_once(holder, capfd):
    path, process = holder
    threading.Timer(0.7, process.kill).start()
    with locks.hold(path, "run can/can", wait=True):
        assert process.wait() == -signal.SIGKILL
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"run can/can: waiting for process {process.pid} on ")


def test_waiting_tells_again_after_a_while(holder, capfd, monkeypatch):
    path, process = holder
    monkeypatch.setattr(locks, "TELL_EVERY", 0.25)
    monkeypatch.setattr(locks, "POLL", 0.05)
    threading.Timer(1.0, process.kill).start()
    with locks.hold(path, "run", wait=True):
        pass
    assert 2 <= len(capfd.readouterr().err.splitlines()) <= 5


def test_lock_is_free_again_after_the_block_and_after_an_error_in_it(tmp_path):
    path = tmp_path / "a.lock"
    with locks.hold(path, "a"):
        pass
    with pytest.raises(ZeroDivisionError), locks.hold(path, "a"):
        _ = 1 / 0
    with locks.hold(path, "a"):
        pass


def test_child_programs_do_not_inherit_the_lock(tmp_path):
    path = tmp_path / "driver.lock"
    with locks.take(path, "driver"):
        child = subprocess.Popen(["sleep", "30"])
    try:
        with locks.hold(path, "driver"):
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_unsigned_lock_is_named_as_another_process(tmp_path: Path):
    path = tmp_path / "a.lock"
    with locks.take(path, "a"):
        path.write_text("")
        with pytest.raises(RepriseError, match="a is locked by another process"):
            locks.take(path, "a")


def test_driver_is_known_while_it_lives(tmp_path):
    assert locks.driver(tmp_path) is None
    program = (
        "import sys, time; from pathlib import Path; from reprise import locks\n"
        "held = locks.take_driver(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert locks.driver(tmp_path) == process.pid
    process.kill()
    process.wait()
    assert locks.driver(tmp_path) is None
