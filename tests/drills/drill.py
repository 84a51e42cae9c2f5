"""What the drills share: a tiny training, its fingerprint, and processes that are made to end."""

import ctypes
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Container
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TinyMethod, photos
from torch import Tensor

from reprise.data.base import ImageSet
from reprise.settings.base import Augment, Optim
from reprise.training.distributed import World
from reprise.training.loop import Fit, FitSettings
from reprise.training.method import Method
from reprise.training.seeding import Key

STEPS = 40
CAPABILITIES_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of each of three sets
# Torch's threads do not come along into a fork, and a computation there may wait for them for ever.
# So what is made to end is forked from a process that has imported all this and computed nothing.
AFRESH = multiprocessing.get_context("forkserver")


def make_fit(
    folder: Path,
    method: Method | None = None,
    data: ImageSet | None = None,
    world: World | None = None,
    **over: Any,
) -> Fit:
    """Return the fit of a tiny classifier that uses every source of randomness."""
    values: dict[str, Any] = {
        "steps": STEPS,
        "batch_size": 16,
        "optim": Optim(lr=1e-2, warmup_steps=2, ema_decay=0.9, clip_norm=1.0),
        "augment": Augment(size=8, crop_scale=(0.5, 1.0), flip=0.5),
        "log_every": 3,
    }
    settings = FitSettings(**{**values, **over})
    one = world or World()
    return Fit(
        method or TinyMethod(), data or photos(), settings, Key(("drill",)), folder, one, "drill"
    )


def fingerprint(fit: Fit) -> str:
    """Return one digest of a finished fit: weights, average, optimiser, curve, global generators.

    Seconds and the number of resumptions are left out, as they may differ.
    """
    assert fit.ema is not None
    sha = hashlib.sha256()
    for state in (fit.method.state_dict(), fit.optimizer.state_dict(), fit.ema.state_dict()):
        _add(sha, state)
    _add(sha, torch.get_rng_state())
    _add(sha, torch.from_numpy(np.asarray(np.random.get_state()[1]).astype(np.int64)))
    sha.update(repr(random.getstate()).encode())
    sha.update(fit.state.log_file.read_bytes())
    return sha.hexdigest()


def _add(sha: "hashlib._Hash", value: Any) -> None:
    if isinstance(value, Tensor):
        sha.update(value.contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for name, part in value.items():
            sha.update(str(name).encode())
            _add(sha, part)
    elif isinstance(value, list | tuple):
        for part in value:
            _add(sha, part)
    else:
        sha.update(repr(value).encode())


def started(work: Callable[..., object], *given: Any) -> BaseProcess:
    """Do some work, a function of a module, in a process that has not computed anything yet.

    It ends with 0, 1 after an error, or as the work ends it, and waits for its own processes first
    as an interpreter does.
    """
    with pytest.MonkeyPatch.context() as patch:  # what the server imports before it forks
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        AFRESH.set_forkserver_preload([__name__])
        forkserver.ensure_running()
    how = multiprocessing.get_start_method()
    process = AFRESH.Process(target=_work, args=(how, work, *given))
    process.start()
    return process


def _work(how: str, work: Callable[..., object], *given: Any) -> None:
    multiprocessing.set_start_method(how, force=True)  # its own processes start as anywhere else
    torch.set_num_threads(1)
    work(*given)


def ended(process: BaseProcess) -> int:
    """Wait for a process; return its exit code, or minus the signal that ended it."""
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def afresh(work: Callable[..., object], *given: Any) -> int:
    """Do some work in a process of its own; return its exit code, or minus the signal's number."""
    return ended(started(work, *given))


def drop_privileges() -> None:
    """Let the modes of files count for this process though it be root's."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_3, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in(fit: Fit, step: int, where: str) -> None:
    """Have a fit end by kill -9 when it comes to a method of its own in a step."""
    real: Callable[..., Any] = getattr(fit, where)

    def deadly(*given: Any) -> Any:
        if fit.state.step >= step:
            die()
        return real(*given)

    setattr(fit, where, deadly)


def saved_after(fit: Fit, steps: Container[int]) -> None:
    """Have a fit save its state after these steps alone, whatever the clock says."""
    real = fit._pause

    def pause(signals: Any) -> None:
        fit._saved_at = -1e9 if fit.state.step in steps else time.monotonic()
        real(signals)

    setattr(fit, "_pause", pause)  # noqa: B010
