"""The public data sets of the papers' tables: what they are, whence they come, what they hold.

They stand in `public.yaml`, beside this file and so wherever the package is. `reprise.data.get`
fetches them, `reprise.data.check` compares what is there with what is said of them, and
`reprise.budget.catalogue` plans with their sizes and terms.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from reprise.errors import ConfigError, unknown
from reprise.settings.base import Strict
from reprise.yamlfile import read_yaml

FILE = Path(__file__).with_name("public.yaml")


class Archive(Strict):
    """A file to be fetched from the first of ``urls`` that serves it, and unpacked."""

    name: str
    urls: tuple[str, ...] = Field(min_length=1)
    makes: tuple[str, ...] = Field(min_length=1, description="what is there afterwards")
    md5: str = Field("", pattern="^([0-9a-f]{32})?$", description="empty: none is published")
    into: str | None = Field(
        ".", description="folder below the root to unpack it in; null: it stays a file"
    )
    gigabytes: float = Field(0.0, ge=0)


class Entry(Strict):
    """A data set: its reader with the arguments that tell it from others of that reader.

    It has archives, or ``by_hand`` says how it is to be had, since nothing is fetched then.
    """

    name: str
    title: str
    reader: str
    tells: dict[str, Any] = Field(default_factory=dict, description="arguments of the reader")
    more: dict[str, Any] = Field(
        default_factory=dict, description="arguments that the reader needs besides, size aside"
    )
    licence: str
    allows: str
    commercial: Literal["yes", "no", "unclear"]
    page: str = Field(description="where it is described, or had")
    terms: str = Field("", description="where its licence is stated, where that is not its page")
    gigabytes: float = Field(ge=0, description="of what is fetched")
    layout: str = Field(description="what its folder holds")
    counts: dict[str, int] = Field(description="photographs by split")
    classes: int
    archives: tuple[Archive, ...] = ()
    by_hand: str = Field("", description="where to register, and what goes where")
    class_list: str = Field("", description="a list of `wordnet`")

    @property
    def args(self) -> dict[str, Any]:
        """The reader's arguments without root and size."""
        return {**self.more, **self.tells}

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if bool(self.archives) == bool(self.by_hand):
            raise PydanticCustomError("had", "give archives, or say how it is had by_hand")
        return self


@functools.cache
def entries() -> dict[str, Entry]:
    """Return all data sets by name; ConfigError naming the key of the file that is wrong."""
    found = {}
    for name, given in read_yaml(FILE).items():
        try:
            found[name] = Entry.model_validate({"name": name, **given})
        except ValidationError as error:
            wrong = error.errors()[0]
            place = ".".join(map(str, (name, *wrong["loc"])))
            raise ConfigError(f"{FILE}: {place}: {wrong['msg']}") from None
    return found


def by_name(name: str, others: Mapping[str, Any] | None = None) -> Entry:
    """Return a data set by its name here; ConfigError lists these and the ``others``."""
    names = entries()
    if name not in names:
        raise ConfigError(unknown("data set", name, {**names, **(others or {})}))
    return names[name]


def of(reader: str, args: Mapping[str, Any]) -> Entry | None:
    """Return the data set that a reader is told to read, None where it is none of these."""
    for entry in entries().values():
        if entry.reader == reader and all(args.get(k) == v for k, v in entry.tells.items()):
            return entry
    return None
