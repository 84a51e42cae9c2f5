"""What is paid for, as items: a training, a pass, an embedding, a benchmark.

Items are named by what they are, so that those which several rows share are one. What a data set's
unknown size leaves uncounted is said in an item's notes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from reprise.budget.sizes import Sizes
from reprise.config import Json


@dataclass(frozen=True)
class Item:
    """One thing to compute; ``key`` names it, ``run`` is 'paper/run' and the same for a benchmark.

    ``flops`` and ``images`` are the accelerator's; ``host_seconds`` is what it would wait for
    one core beside it, ``probe_flops`` what a probe's solver computes in float32, ``seconds`` a
    fixed measuring time. It can be spread over at most ``spread`` GPUs.
    """

    key: str
    kind: str  # training, evaluation, embeddings, benchmark
    run: str
    seed: int
    what: str
    flops: float = 0.0
    images: float = 0.0
    host_seconds: float = 0.0
    probe_flops: float = 0.0
    seconds: float = 0.0
    spread: int = 1
    state_bytes: float = 0.0  # weights, gradients, optimiser
    sample_bytes: float = 0.0  # kept for the backward pass, of one sample, float32
    samples: int = 0  # of a forward pass on one GPU
    weights_bytes: float = 0.0  # of the finished model
    notes: tuple[str, ...] = ()

    def larger(self, other: "Item") -> "Item":
        """Return this item with the larger of both numbers: of features, whoever wants more."""
        return self if (self.flops, self.probe_flops) >= (other.flops, other.probe_flops) else other


Items = dict[str, Item]


def merged(parts: Iterable[Items]) -> Items:
    """Return the items of several rows, each once."""
    found: Items = {}
    for part in parts:
        for key, item in part.items():
            found[key] = item.larger(found[key]) if key in found else item
    return found


def one(item: Item) -> Items:
    """Return a single item as a row's would be."""
    return {item.key: item}


def passes(data: Sizes, split: str, flops: float, times: int = 1, most: int | None = None) -> Json:
    """Return FLOPs and images of a split's passes, or a note that its size is not known."""
    images = data.images(split)
    if images is None and most is None:
        note = f"{data.home}: number of images of {split} not known, so not counted"
        return {"flops": 0.0, "images": 0.0, "notes": (note,)}
    total = times * min(n for n in (images, most) if n is not None)
    return {"flops": flops * total, "images": float(total), "notes": ()}


def gpus_used(item: Item, gpus: int) -> int:
    """Return how many of so many GPUs an item keeps busy: those among which its batch divides."""
    return max(n for n in range(1, min(gpus, item.spread) + 1) if item.spread % n == 0)


def optimiser_bytes(name: str) -> int:
    """Return a trained weight's bytes: itself, its gradient, one or two moments, float32."""
    return 4 * (3 if name == "sgd" else 4)
