"""Entry point: `python -m reprise`."""

import os
import sys

from reprise.errors import Interrupted, RepriseError


def main() -> None:
    """Run the command line; a user's mistake is printed without a traceback."""
    # OpenMP reads this when torch is imported. Threads that sleep rather than spin at a barrier
    # leave the processor to others: beside one other busy process training is three times faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from reprise.cli import app

    try:
        app()
    except RepriseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(Interrupted.exit_code)


if __name__ == "__main__":
    main()
