"""Entry point: `python -m reprise`."""

import atexit
import ctypes
import errno
import gc
import logging
import os
import sys
from typing import NoReturn

from reprise.errors import Interrupted, RepriseError

# Errors of the system by which a disk or a folder refuses to be written to.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)

# What torch and its libraries read before they first use a GPU.
ON_A_GPU = {
    # Else cuBLAS may sum in another order from run to run.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # cuDNN's attention comes last: backwards its order of summing varies, and on an H100 it failed
    # on cross-shaped windows in bf16.
    "TORCH_CUDNN_SDPA_DEPRIORITIZED": "1",
}


def main() -> NoReturn:
    """Run the command line; a user's mistake is printed without a traceback.

    A job of the demo lasts a minute, of which torch's import and the interpreter's end took five
    seconds. A rarer garbage collection and an end without teardown save two of them.
    """
    gc.set_threshold(100_000, 50, 50)
    for name, value in ON_A_GPU.items():
        os.environ.setdefault(name, value)
    keep_freed_memory()
    code = _run()
    atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it can be told so (glibc).

    It gives large tensors back to the system otherwise, which hands every page of the next one out
    anew: 4 to 10 % of the time of a training step or a forward pass on a processor.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    trim_threshold, mmap_threshold = -1, -3  # M_... of <malloc.h>
    if mallopt is not None:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30)


def _run() -> int:
    """Return the exit code of the verb that the command line names."""
    from reprise.cli import app

    try:
        app()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except RepriseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return Interrupted.exit_code
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        what = error.filename or "a file"
        print(
            f"error: {what}: {error.strerror}; what was finished before is intact: make room, or "
            "let the folder be written to, and run the same command again",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    main()
