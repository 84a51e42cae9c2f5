"""Reads `params/catalogue.yaml`: what is known of data, weights, packages and machines.

Of the public data sets it takes from `reprise.data.public` what it does not say itself.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from reprise.config import Dataset, read_yaml
from reprise.data import public
from reprise.errors import ConfigError, unknown
from reprise.settings.base import Strict

FILE = Path("params/catalogue.yaml")
HERE = "here"


class Terms(Strict):
    """Under which licence something is, and in short what that allows."""

    title: str = ""
    licence: str
    allows: str
    commercial: Literal["yes", "no", "unclear"]
    url: str


class Data(Terms):
    """A data set's terms and sizes; what is not known is absent."""

    public: str = Field("", description="the public data set that all else is taken from")
    aliases: tuple[str, ...] = ()
    classes: int | None = Field(None, ge=0)
    channels: Literal[1, 3] = 3
    side: int | None = Field(None, gt=0, description="of its images, where settings give none")
    captions: int = Field(0, ge=0, description="of each image, in each style")
    splits: dict[str, int] = Field(default_factory=dict, description="images")
    download_gb: float | None = Field(None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _taken_from_the_public_one(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("public"):
            return given
        known = public.entries()
        if given["public"] not in known:
            text = unknown("public data set", str(given["public"]), known)
            raise PydanticCustomError("public", "{text}", {"text": text})
        return {**_planned(known[given["public"]]), **given}


def _planned(entry: public.Entry) -> dict[str, Any]:
    """Return what of a public data set is planned with."""
    return {
        "title": entry.title,
        "licence": entry.licence,
        "allows": entry.allows,
        "commercial": entry.commercial,
        "url": entry.terms or entry.page,
        "classes": entry.classes,
        "splits": entry.counts,
        "download_gb": entry.gigabytes,
    }


class Machine(Strict):
    """How fast a GPU or the processor at hand multiplies matrices, and what training reaches."""

    title: str
    peak_tflops: float | None = Field(None, gt=0, description="dense bf16; absent: measured")
    memory_gb: float | None = Field(None, gt=0)
    utilisation: float = Field(gt=0, le=1)
    basis: str
    source: str
    cores: int = Field(1, gt=0, description="of the host, beside each GPU: assumed")


class Catalogue(Strict):
    """All of the file; a workspace without one knows nothing."""

    datasets: dict[str, Data] = Field(default_factory=dict)
    weights: dict[str, Terms] = Field(default_factory=dict)
    packages: dict[str, Terms] = Field(default_factory=dict)
    machines: dict[str, Machine] = Field(default_factory=dict)
    defaults: dict[str, str] = Field(
        default_factory=dict, description="scale -> machine that a plan is made for"
    )

    @model_validator(mode="after")
    def _machines_are_whole(self) -> Self:
        for name, machine in self.machines.items():
            if name != HERE and machine.peak_tflops is None:
                text = f"machines.{name} needs peak_tflops: only that of `{HERE}` is measured"
                raise PydanticCustomError("peak", "{text}", {"text": text})
        for scale, name in self.defaults.items():
            if name not in self.machines:
                text = f"defaults.{scale}: {unknown('machine', name, self.machines)}"
                raise PydanticCustomError("machine", "{text}", {"text": text})
        return self

    def data(self, dataset: Dataset) -> Data | None:
        """Return what is known of a data set, by its folder, by that less a size, or its reader."""
        by_name = dict(self.datasets)
        for entry in self.datasets.values():
            by_name.update(dict.fromkeys(entry.aliases, entry))
        stem, _, size = dataset.home.rpartition("_")
        names = [dataset.home, *([stem] if size.isdigit() else []), dataset.name]
        return next((by_name[name] for name in names if name in by_name), None)

    def machine(self, name: str) -> Machine:
        """Return a machine by name; ConfigError naming the known ones."""
        if name not in self.machines:
            raise ConfigError(unknown("machine", name, self.machines))
        return self.machines[name]


def read(root: Path) -> Catalogue:
    """Read a workspace's catalogue; ConfigError naming the key that is wrong."""
    file = root / FILE
    if not file.is_file():
        return Catalogue()
    try:
        return Catalogue.model_validate(read_yaml(file))
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, wrong["loc"]))
        said = f"{place}: {wrong['msg']}" if place else wrong["msg"]
        raise ConfigError(f"{file}: {said}") from None
