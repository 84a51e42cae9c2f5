"""Images with captions in one or more styles, and the files that keep the captions."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reprise.data.base import ArraySet
from reprise.errors import ConfigError, unknown
from reprise.files import write_atomic

PLAIN = "captions"  # the style of captions that have none


@dataclass(eq=False)
class CaptionedSet(ArraySet):
    """An `ArraySet` whose images have captions: ``texts`` by style, of each N lists of them."""

    texts: dict[str, list[list[str]]]

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles in which every image has captions."""
        return tuple(self.texts)

    def captions(self, index: int, style: str = PLAIN) -> list[str]:
        """Return an image's captions in a style; ConfigError where there is no such style."""
        if style not in self.texts:
            raise ConfigError(
                unknown(f"caption style of data set {self.name!r}", style, self.texts)
            )
        return self.texts[style][index]


def write_texts(folder: Path, split: str, texts: Mapping[str, list[list[str]]]) -> list[str]:
    """Write a split's captions, for each style a list of N lists; return the files' names.

    Each image is on its line of ``<split>-<style>.json``.
    """
    files = []
    for style, some in texts.items():
        files.append(f"{split}-{style}.json")
        lines = ",\n".join(json.dumps(captions) for captions in some)
        write_atomic(folder / files[-1], f"[\n{lines}\n]\n")
    return files


def read_texts(folder: Path, split: str, styles: Iterable[str]) -> dict[str, list[list[str]]]:
    """Return what `write_texts` wrote of a split, in these styles."""
    return {style: json.loads((folder / f"{split}-{style}.json").read_bytes()) for style in styles}
