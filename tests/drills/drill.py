"""What the drills share: a tiny training, its fingerprint, and processes that are made to end."""

import ctypes
import hashlib
import multiprocessing.util
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from limits import SLOWNESS
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
FEW_SECONDS = 20.0


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


def started(work: Callable[[], object]) -> int:
    """Do some work in a forked process, which has torch already; return its pid.

    It ends with 0, 1 after an error, or as the work ends it, and waits for its own processes first
    as an interpreter does.
    """
    child = os.fork()
    if child:
        return child
    signal.setitimer(signal.ITIMER_REAL, 0)
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        multiprocessing.util._exit_function()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, seconds: float = FEW_SECONDS) -> int:
    """Wait for a process; return its exit code, or minus the signal that ended it."""
    until = time.monotonic() + seconds * SLOWNESS
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail(f"a process had not ended after {seconds:.0f} s")


def forked(work: Callable[[], object], seconds: float = FEW_SECONDS) -> int:
    """Do some work in a forked process; return its exit code, or minus the signal's number."""
    return ended(started(work), seconds)


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
