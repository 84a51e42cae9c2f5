"""Starts verbs from one process that has imported the large libraries.

A step of the demo lasts a minute or less, and importing torch and the like takes five seconds of
it; a step of a rehearsal lasts a second. So one process imports them (`--serve`), and forks for
every verb. Who asks it to is this file without `--serve`, which imports nothing, hands over its
streams, passes signals on and ends as the verb does. Without such a process it becomes the verb.

    python workflow/launchers/warm.py --serve <socket> [<module of ours to import, too>]
    python workflow/launchers/warm.py <socket> train can/can --scale demo

Of ours nothing is imported but what is named: a verb must run the sources of its own time.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys

LIBRARIES = (
    *("numpy", "scipy.stats", "sklearn.linear_model", "sklearn.neighbors", "pydantic", "yaml"),
    *("rich.progress", "typer", "PIL.Image", "safetensors.torch", "torch", "torch._dynamo"),
    *("torch.utils.data", "torch.utils.flop_counter", "torchvision", "timm", "timm.optim"),
    *("timm.scheduler", "transformers.models.gpt2.modeling_gpt2", "open_clip"),
)
NUMBER = 8  # bytes of each number that is told
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


# ---- who asks ----
def ask(address: str, arguments: list[str]) -> int:
    """Have a verb run with our streams and folder; return its exit code."""
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(address)
        except OSError:  # nobody serves, or no longer
            os.execv(sys.executable, [sys.executable, "-m", "reprise", *arguments])  # noqa: S606
        told = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()  # noqa: PTH109
        socket.send_fds(link, [len(told).to_bytes(NUMBER)], [0, 1, 2])
        link.sendall(told)
        pass_signals_to(told_number(link, otherwise=0))
        return told_number(link, otherwise=1)  # nothing: the process that served it has died


def told_number(link: socket.socket, otherwise: int) -> int:
    """Read one number; those of a verb that ends at once may lie there together."""
    told = link.recv(NUMBER, socket.MSG_WAITALL)
    return int.from_bytes(told) if len(told) == NUMBER else otherwise


def pass_signals_to(pid: int) -> None:
    """Send what we are sent to a verb, which decides when to end."""

    def send(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    if pid:
        for number in PASSED_ON:
            signal.signal(number, send)


# ---- who serves ----
def serve(address: str, *ours: str) -> None:
    """Import everything, then fork for all who ask, until standard input ends."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{address}.new")
        door.listen(128)  # who asks meanwhile, waits
        os.rename(f"{address}.new", address)  # noqa: PTH104 - who finds it is listened to
        for module in (*LIBRARIES, *ours):
            importlib.import_module(module)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the driver, which ends us
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how the children ended
        while 0 not in select.select([door, 0], [], [])[0]:
            link, _ = door.accept()
            if os.fork() == 0:
                door.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer(link)
            link.close()


def answer(link: socket.socket) -> None:
    """Run a verb in a child; tell who asked its number, and in the end how it ended."""
    length, streams, _, _ = socket.recv_fds(link, NUMBER, 3)
    told = link.recv(int.from_bytes(length), socket.MSG_WAITALL)
    if len(length) < NUMBER or len(told) < int.from_bytes(length):
        os._exit(0)  # who asked was killed before all was said
    child = os.fork()
    if child == 0:
        link.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run(*json.loads(told), streams)
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(BrokenPipeError):
        link.sendall(child.to_bytes(NUMBER))
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):  # who asked was killed
        link.sendall((os.waitstatus_to_exitcode(status) % 256).to_bytes(NUMBER))
    os._exit(0)


def run(arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Become a verb."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[0] = ["reprise", *arguments], folder
    from reprise.__main__ import main

    main()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(*sys.argv[2:])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
