"""FLOPs and bytes of a training step and of an inference, counted on the meta device.

FLOPs count multiplications and additions, backward passes too, which are counted and not taken as
twice the forward pass: what is frozen costs no gradient. `outlines` builds what is counted,
`passes` says what of it is called, and `counters` count.
"""

from typing import Any, cast

import torch

from reprise.budget.counters import Kept, counted
from reprise.budget.outlines import META, outline
from reprise.budget.passes import BATCH, images, infer, texts, training_loss
from reprise.budget.shapes import Passed, Step, Subject
from reprise.config import Run
from reprise.methods.supervised import Supervised
from reprise.settings.base import Augment
from reprise.settings.supervised import Settings as HeadSettings
from reprise.training.method import Method
from reprise.untrained import parameters_on_meta

__all__ = ["count_finetuning", "count_pass", "count_step", "count_text", "feature_width", "outline"]


def count_step(run: Run, method: Method, subject: Subject) -> Step:
    """Count a training step of a run, its optimiser left out; ``method`` is an outline."""
    method.train()
    for module in method.modules():  # as on a GPU
        if hasattr(module, "fused_attn"):
            cast(Any, module).fused_attn = True
    with counted(method) as counter, Kept(method) as kept:
        loss = training_loss(method, run, subject)
        forward = counter.total()
        loss.backward()
    whole, extra = counter.total(), counter.extra
    parameters = list(method.parameters())
    return Step(
        sum(one.numel() for one in parameters),
        sum(one.numel() for one in parameters if one.requires_grad),
        (forward + extra) / BATCH,
        (whole + 3 * extra) / BATCH,
        kept.bytes / BATCH,
    )


def count_finetuning(run: Run, subject: Subject, augment: Augment) -> Step:
    """Count a step that trains a run's encoder and a new linear head on images of a size."""
    encoder = outline(run, subject).encoder
    with parameters_on_meta():
        method = Supervised(encoder, subject.classes, HeadSettings()).to(META)
    own = run.model_copy(update={"augment": augment, "method": "supervised"})
    return count_step(own, method, subject)


def count_pass(run: Run, method: Method, height: int, width: int) -> Passed:
    """Count an inference on images of a size, head included; ``method`` is an outline.

    Of a decoder of embeddings, one position of its language model.
    """
    method.eval()
    with counted(method) as counter, torch.no_grad():
        shares = infer(method, run, height, width)
    parameters = sum(one.numel() for one in method.parameters())
    return Passed((counter.total() + counter.extra) / shares, parameters)


def feature_width(run: Run, method: Method, height: int, width: int) -> int:
    """Return how many numbers an image's features are."""
    method.eval()
    with torch.no_grad():
        return int(method.features(images(run, height, width)).shape[-1])


def count_text(method: Any) -> Passed:
    """Count the text tower of an outlined CLIP, for one text."""
    method.eval()
    with counted(method) as counter, torch.no_grad():
        method.towers.encode_text(texts(method))
    return Passed(counter.total() / BATCH, sum(one.numel() for one in method.parameters()))
