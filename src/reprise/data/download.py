"""Downloads that are retried, and whole or absent."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from reprise.errors import DataError
from reprise.files import write_atomic

TRIES = 3
TIMEOUT = 15.0  # seconds without an answer


def download(
    urls: Sequence[str],
    target: Path,
    log: Callable[[str], None],
    check: Callable[[bytes], object],
    wait: float = 1.0,
) -> None:
    """Fetch the first URL that works into target; each is tried three times.

    ``check`` raises OSError or EOFError on broken content, which counts as a failed try. ``wait``
    seconds pass before the second try, twice as many before the third. Raises DataError that lists
    what each URL said.
    """
    failures = []
    for url in urls:
        for attempt in range(TRIES):
            try:
                content = _get(url)
                check(content)
            except urllib.error.HTTPError as error:
                failures.append(f"{url}: HTTP {error.code} {error.reason}")
                break  # the server has answered: asking again will not change it
            except (OSError, EOFError) as error:
                failures.append(f"{url}: {getattr(error, 'reason', error)}")
                if attempt + 1 < TRIES:
                    time.sleep(wait * 2**attempt)
                continue
            write_atomic(target, content)
            log(f"downloaded {target.name} ({len(content) / 1e6:.1f} MB)")
            return
    raise DataError("; ".join(dict.fromkeys(failures)))


def _get(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{url}: only http and https are fetched")
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 (checked above)
        content: bytes = answer.read()
        expected = answer.headers.get("Content-Length")
    if expected is not None and int(expected) != len(content):
        raise OSError(f"{len(content)} of {expected} bytes came")
    return content
