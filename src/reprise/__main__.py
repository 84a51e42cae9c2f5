"""Entry point: `python -m reprise`."""

import atexit
import gc
import logging
import os
import sys
from typing import NoReturn

from reprise.errors import Interrupted, RepriseError


def main() -> NoReturn:
    """Run the command line; a user's mistake is printed without a traceback.

    A job of the demo lasts a minute, of which torch's import and the interpreter's end took five
    seconds. A rarer garbage collection and an end without teardown save two of them.
    """
    gc.set_threshold(100_000, 50, 50)
    code = _run()
    atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


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
    return 0


if __name__ == "__main__":
    main()
