"""What is passed through models: images of a split for their features, scores or embeddings."""

from reprise.budget import sizes
from reprise.budget.catalogue import Catalogue
from reprise.budget.counts import Counts
from reprise.budget.items import Item, Items, one, passes
from reprise.budget.sizes import Sizes
from reprise.config import Json, Project
from reprise.plan import RunJob


class Encodings:
    """Passes of a project's data through the models of its runs."""

    def __init__(self, project: Project, catalogue: Catalogue, counts: Counts) -> None:
        self.project, self.catalogue, self.counts = project, catalogue, counts
        self._sizes: dict[str, Sizes] = {}

    def data(self, alias: str) -> Sizes:
        """Return what is known of the data set behind an alias."""
        if alias not in self._sizes:
            self._sizes[alias] = sizes.of(self.project, self.catalogue, alias)
        return self._sizes[alias]

    def images(
        self, job: RunJob, data: Sizes, split: str, most: int | None = None, size: int | None = None
    ) -> Json:
        """Return the passes of a split's images, head included, as they reach the run's method."""
        assert job.run.augment is not None
        size = size or job.run.augment.size
        flops = self.counts.forward(job.run, self.data(job.run.data), size, size).flops
        return passes(data, split, flops, most=most)

    def features(self, job: RunJob, alias: str, split: str, most: int | None = None) -> Item:
        """Return the passes of features of a split, or of as many images of it as are wanted."""
        data = self.data(alias)
        return Item(
            f"features {job.key} {data.home} {split}",
            "evaluation",
            f"{job.slug}/{job.name}",
            job.seed,
            f"features of {data.home}, {split}",
            **self.images(job, data, split, most),
        )

    def embedded_images(self, clip: RunJob, alias: str, split: str) -> Items:
        """Return the embeddings of a split's images by a frozen model."""
        data, size = self.data(alias), clip.run.augment.size if clip.run.augment else 0
        passed = self.counts.forward(clip.run, self.data(clip.run.data), size, size)
        return one(
            Item(
                f"embed {clip.key} {data.home} {split} images",
                "embeddings",
                f"{clip.slug}/{clip.name}",
                clip.seed,
                f"images of {data.home}, {split}",
                **passes(data, split, passed.flops),
            )
        )

    def embedded_texts(self, clip: RunJob, alias: str, split: str, style: str) -> Items:
        """Return the embeddings of a style of a split's captions by a frozen model."""
        data = self.data(alias)
        passed = self.counts.text(clip.run, self.data(clip.run.data))
        return one(
            Item(
                f"embed {clip.key} {data.home} {split} {style}",
                "embeddings",
                f"{clip.slug}/{clip.name}",
                clip.seed,
                f"{style} of {data.home}, {split}",
                **passes(data, split, passed.flops, data.captions or 1),
            )
        )
