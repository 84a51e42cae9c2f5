"""Entry point: `python -m reprise`."""

import sys

from reprise.errors import Interrupted, RepriseError


def main() -> None:
    """Run the command line; a user's mistake is printed without a traceback."""
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
