"""The process that forks for verbs, with a few lines in place of our package."""

import inspect
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WARM = Path(__file__).parents[2] / "workflow/launchers/warm.py"
MAIN = """
import os, signal, sys, time

def main():
    print("verb", *sys.argv[1:], os.getcwd(), os.environ.get("MARK"), flush=True)
    print("to the other stream", file=sys.stderr, flush=True)
    if sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "wait":
        time.sleep(1)
    if sys.argv[1] == "obey":
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(75))
        print("ready", flush=True)
        time.sleep(60)
    os._exit(int(sys.argv[2]))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server's address, and its process."""
    package = tmp_path / "reprise"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(MAIN)
    # The large libraries are not needed to see how verbs begin and end.
    program = WARM.read_text().replace("for module in (*LIBRARIES, *ours)", "for module in ours")
    assert "LIBRARIES, *ours" not in program
    (tmp_path / "served.py").write_text(program)
    address = str(tmp_path / "warm")
    process = subprocess.Popen(
        [sys.executable, tmp_path / "served.py", "--serve", address, "json"],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    while not Path(address).exists():
        assert process.poll() is None, "the server ended"
        time.sleep(0.02)
    yield address, process
    process.kill()
    process.wait()


def ask(address: str, *arguments: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-S", WARM, address, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MARK": "mine"},
    )


def test_a_verb_has_the_streams_folder_and_environment_of_who_asks(
    server: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    asked = ask(server[0], "train", "0", folder=tmp_path)
    out, err = asked.communicate(timeout=20)
    assert out == f"verb train 0 {tmp_path} mine\n"
    assert err == "to the other stream\n"
    assert asked.returncode == 0


def test_its_exit_code_is_passed_on_and_a_kill_is_a_failure(
    server: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    ends = [ask(server[0], verb, "75", folder=tmp_path) for verb in ("train", "die")]
    assert ends[0].wait(timeout=20) == 75
    assert ends[1].wait(timeout=20) not in (0, 75)


def test_both_numbers_of_a_verb_may_come_at_once(tmp_path: Path) -> None:
    address = str(tmp_path / "warm")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        asked = ask(address, "train", folder=tmp_path)
        link, _ = door.accept()
        with link:
            link.sendall((1234567).to_bytes(8) + (75).to_bytes(8))
            assert asked.wait(timeout=20) == 75


def test_verbs_run_side_by_side(
    server: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    start = time.monotonic()
    asked = [ask(server[0], "wait", "0", folder=tmp_path) for _ in range(8)]
    assert [one.wait(timeout=60) for one in asked] == [0] * 8
    assert time.monotonic() - start < 8, "one after the other they would take as many seconds"


def test_it_ends_with_the_one_that_started_it(
    server: tuple[str, "subprocess.Popen[bytes]"],
) -> None:
    process = server[1]
    process.send_signal(signal.SIGINT)  # Ctrl+C reaches the whole group; the driver decides
    assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def test_who_is_killed_while_asking_leaves_nobody_behind(
    server: tuple[str, "subprocess.Popen[bytes]"],
) -> None:
    address, process = server
    for told in (b"", b"\0" * 3, (9).to_bytes(8), (9).to_bytes(8) + b"[[]"):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(address)
            if told:
                socket.send_fds(link, [told], [0, 1, 2])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 20
    while children.read_text().strip():
        assert time.monotonic() < deadline, "a child waits for what is never said"
        time.sleep(0.05)
    assert process.poll() is None


def test_signals_are_passed_on(
    server: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    asked = ask(server[0], "obey", "0", folder=tmp_path)
    assert asked.stdout is not None
    assert [asked.stdout.readline() for _ in range(2)][1] == "ready\n"
    asked.send_signal(signal.SIGUSR1)
    assert asked.wait(timeout=20) == 75


def test_without_a_server_the_verb_starts_by_itself(tmp_path: Path) -> None:
    asked = ask(str(tmp_path / "nobody"), "--help", folder=tmp_path)
    out, _ = asked.communicate(timeout=60)
    assert asked.returncode == 0
    assert "python -m reprise" in out


def test_of_ours_nothing_is_imported_ahead() -> None:
    """A verb must run the sources of its own time, whatever was edited since the server began."""
    program = "import sys, runpy; warm = runpy.run_path(sys.argv[1]); "
    program += "[__import__(name) for name in warm['LIBRARIES']]; "
    program += "print([name for name in sys.modules if name.startswith('reprise')])"
    done = subprocess.run(
        [sys.executable, "-c", program, WARM], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("[]")


def test_snakemake_has_the_limit_of_rate_that_is_dropped() -> None:
    """Else `drop_rate_limit` of the workflow would set what nobody reads."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    assert "self.job_rate_limiter = " in inspect.getsource(JobScheduler.__init__)
    assert "self.job_rate_limiter is None" in inspect.getsource(JobScheduler.job_selector)
