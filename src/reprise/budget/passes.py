"""What methods compute in training and at test, on the meta device, where nothing has a value.

A method is called as it is on images, or on what its module's ``example(run, batch, device)`` makes
up (`reprise.untrained`). One whose forward pass reads numbers, such as where a crop lies, cannot be
called there. It may have ``loss_on_meta(run, subject)``, which returns a scalar that needs all that
a training step computes; those without are told by their parts, and their parts are called.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reprise.budget.outlines import META
from reprise.budget.shapes import CAPTION_TOKENS, Subject
from reprise.config import Run
from reprise.errors import ConfigError
from reprise.registry import load
from reprise.training.method import Batch, Method
from reprise.training.seeding import Draws, Key
from reprise.untrained import example, inference

BATCH = 2  # of what is counted: batch norm wants more than one
AUXILIARY_MAP = 2  # of the four maps, that of a segmentation's second head
CAPTIONER = ("decoder", "vocabulary")  # parts of one that says what an embedding is of
POSITIVE_SHARE = 4  # of Mask R-CNN's boxes one in so many has a mask in training (torchvision)


# ---- training ----
def training_loss(method: Method, run: Run, subject: Subject) -> Tensor:
    """Return a scalar to go backward from, after a training step's forward pass.

    ConfigError where nobody says what a method's samples are.
    """
    own = getattr(method, "loss_on_meta", None)
    if own is not None:
        loss: Tensor = own(run, subject)
        return loss
    for parts, compute in BY_PARTS.items():
        if _has(method, parts):
            return compute(method, run, subject)
    if run.augment is None and not hasattr(load("method", run.method), "example"):
        raise ConfigError(
            f"{run.method!r}: its samples are no images, and a plan has none to count with; give "
            "its module example(run, batch, device), or its method loss_on_meta(run, subject)"
        )
    labels = torch.zeros(BATCH, dtype=torch.long, device=META)
    batch = Batch((example(run, BATCH, META),) * method.num_views, labels, labels)
    loss = method(batch, Draws(Key(("budget",)), BATCH, device=META))["loss"]
    return loss


def _has(method: Method, parts: tuple[str, ...]) -> bool:
    return all(hasattr(method, part) for part in parts)


def _augmenting(method: Any, run: Run, subject: Subject) -> Tensor:
    """Call a classifier that augments by a recipe of its own, to the size that this says."""
    size = method.recipe.image.size
    scores: Tensor = method.head(method.encode(images(run, size, size)))
    return scores.float().sum()


def _segmenting(method: Any, run: Run, subject: Subject) -> Tensor:
    """Call heads on an encoder's four maps."""
    given = images(run, method.settings.crop, method.settings.crop)
    maps = method.pyramid(method.encoder, given)
    total: Tensor = method._upsampled(method._coarse(maps), given).sum()
    if method.auxiliary is not None:
        total = total + method._upsampled(method.auxiliary(maps[AUXILIARY_MAP]), given).sum()
    return total


def _detecting(method: Any, run: Run, subject: Subject) -> Tensor:
    """Call a detector of torchvision on photos of the data's size, where that is known."""
    height, width = method.settings.cost_size
    if subject.height and subject.width:
        scale = sum(method.settings.scale) / 2
        height, width = round(scale * subject.height), round(scale * subject.width)
    return _detected(method, images(run, height, width))


def _detected(method: Any, given: Tensor) -> Tensor:
    """Return the sum of all that a detector's heads say of images [B, C, H, W] in training.

    Where boxes have no place, Mask R-CNN reads off as many as it may.
    """
    detector, settings = method.detector, method.settings
    prepared, _ = detector.transform(list(given))
    maps = detector.backbone(prepared.tensors)
    if not method.has_masks:
        outputs: dict[str, Tensor] = detector.head(list(maps.values()))
        return torch.stack([one.float().sum() for one in outputs.values()]).sum()
    found = [one.float().sum() for part in detector.rpn.head(list(maps.values())) for one in part]
    boxes, masks = settings.rois, max(1, settings.rois // POSITIVE_SHARE)
    like, heads = next(iter(maps.values())), detector.roi_heads
    width = settings.channels
    cells = like.new_empty(len(given) * boxes, width, 7, 7).requires_grad_(like.requires_grad)
    fine = like.new_empty(len(given) * masks, width, 14, 14).requires_grad_(like.requires_grad)
    found += [one.float().sum() for one in heads.box_predictor(heads.box_head(cells))]
    found.append(heads.mask_predictor(heads.mask_head(fine)).float().sum())
    return torch.stack(found).sum()


def _captioning(method: Any, run: Run, subject: Subject) -> Tensor:
    """Call a language model that goes on from an embedding."""
    settings = method.settings
    length = min(settings.longest, CAPTION_TOKENS)
    embedded = torch.empty(BATCH, settings.embedding, device=META)
    tokens = torch.zeros(BATCH, length, dtype=torch.long, device=META)
    scores: Tensor = method.decoder(embedded, tokens)
    return scores.float().sum()


def _pairing(method: Any, run: Run, subject: Subject) -> Tensor:
    """Call an image and a text tower."""
    assert run.augment is not None
    embedded = method.image_embeddings(images(run, run.augment.size, run.augment.size))
    said: Tensor = method.towers.encode_text(texts(method))
    loss: Tensor = (embedded @ said.mT).float().sum()
    return loss


# Methods whose forward pass reads numbers: the parts that tell them, and what these compute.
BY_PARTS: dict[tuple[str, ...], Callable[[Any, Run, Subject], Tensor]] = {
    ("recipe", "encode", "head"): _augmenting,
    ("pyramid", "classifier", "auxiliary"): _segmenting,
    ("detector", "has_masks"): _detecting,
    CAPTIONER: _captioning,
    ("towers", "image_embeddings"): _pairing,
}


# ---- inference ----
def infer(method: Any, run: Run, height: int, width: int) -> int:
    """Infer on images of a size; return how many equal shares that was.

    A captioner says captions of embeddings, whose shares are positions of its language model.
    """
    if _has(method, CAPTIONER):
        settings = method.settings
        tokens = torch.zeros(BATCH, CAPTION_TOKENS, dtype=torch.long, device=META)
        method.decoder(torch.empty(BATCH, settings.embedding, device=META), tokens)
        return int(BATCH * (settings.prefix + CAPTION_TOKENS))
    called, _ = inference(method)
    called(images(run, height, width))
    return BATCH


# ---- what is made up ----
def texts(method: Any) -> Tensor:
    """Return tokens int64 [B, context] for a text tower."""
    return torch.zeros(BATCH, method.settings.context, dtype=torch.long, device=META)


def images(run: Run, height: int, width: int) -> Tensor:
    """Return images float32 [B, C, height, width] for a run's model."""
    channels = int(run.model.args.get("in_chans", 3))
    return torch.empty(BATCH, channels, height, width, device=META)
