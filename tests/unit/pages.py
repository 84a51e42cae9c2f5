"""The report as a reader meets it: tags and words, or opened in a browser where there is one."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reprise.config import Project
from reprise.report import build


class Page(HTMLParser):
    """Collects tags with their attributes, and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(project: Project) -> Page:
    return Page(build.build(project).read_text())


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test that asks for one is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as engine:
        yield engine.chromium.launch(executable_path=executable, args=["--no-sandbox"])


def opened(browser: Any, path: Path, width: int) -> tuple[Any, list[str]]:
    """Open a page offline; return the tab and all that the page asked for or complained of."""
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    tab, heard = context.new_page(), list[str]()
    tab.on("console", lambda message: heard.append(message.text))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.on("request", lambda request: heard.append(request.url))
    tab.goto(path.as_uri())
    return tab, [line for line in heard if line != path.as_uri()]
