"""FLOPs and bytes of a training step and of an inference, counted on the meta device.

FLOPs count multiplications and additions, backward passes too, which are counted and not taken as
twice the forward pass: what is frozen costs no gradient. Nothing is computed, no weight is drawn or
downloaded: released models are outlined from the sizes that their libraries list.

A method whose forward pass cannot run on the meta device (it reads numbers, or its samples are not
images) has a function here that counts what it computes, `of` its class; any other needs none. The
classes are named and not imported, since their libraries take seconds to load.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from reprise.budget.shapes import Passed, Step, Subject
from reprise.config import Run
from reprise.data.captioned import PLAIN, CaptionedSet
from reprise.methods.supervised import Supervised
from reprise.registry import load
from reprise.settings.base import Augment
from reprise.settings.supervised import Settings as HeadSettings
from reprise.training.method import Batch, Method, StandIn
from reprise.training.seeding import Draws, Key
from reprise.untrained import inference, parameters_on_meta

META = torch.device("meta")
SCRATCH = "scratch"  # model name of a CLIP that is given by its sizes
AUXILIARY_MAP = 2  # of the four maps, that of a segmentation's second head
RECIPE, SEGMENT = "reprise.papers.deit3.Recipe", "reprise.methods.segment.Segment"
DETECT, CLIP = "reprise.methods.detect.Detect", "reprise.methods.clip.CLIP"
CAPDEC = "reprise.papers.capdec.CapDec"
F = TypeVar("F")
BATCH = 2  # of what is counted: batch norm wants more than one
CAPTION_TOKENS = 24  # of the longest caption in a batch, and of a caption that is said
POSITIVE_SHARE = 4  # of Mask R-CNN's boxes one in so many has a mask in training (torchvision)
_GPT2 = {  # layers, width and heads of the released models, by name
    "gpt2": (12, 768, 12),
    "gpt2-medium": (24, 1024, 16),
    "gpt2-large": (36, 1280, 20),
    "gpt2-xl": (48, 1600, 25),
}
GPT2_VOCABULARY = 50_257
CLIP_VOCABULARY = 49_408


# ---- outlines ----
def outline(run: Run, subject: Subject) -> Method:
    """Build a run's method on the meta device, released weights or not, downloading nothing."""
    own = without_downloads(run)
    if run.objective.get("language_model") is not None:
        subject = replace(subject, words=GPT2_VOCABULARY)
    elif own.model.name == SCRATCH != run.model.name:
        subject = replace(subject, words=CLIP_VOCABULARY)
    with parameters_on_meta():
        method: Method = load("method", own.method).build(own, _stand_in(own, subject))
    return method.to(META)


def without_downloads(run: Run) -> Run:
    """Return a run whose model is of the same size, and built without any released file."""
    objective, model = dict(run.objective), run.model
    if objective.get("weights") is not None:
        objective["weights"] = None
        config = _clip_config(run)
        if config is not None:
            keys = ("embed_dim", "vision_cfg", "text_cfg")
            args = {key: config[key] for key in keys}
            model = model.model_copy(update={"name": SCRATCH, "args": args})
    if objective.get("language_model") is not None:
        sizes = _language_model(objective["language_model"])
        objective["language_model"] = None
        model = model.model_copy(update={"args": {**sizes, **model.args}})
    return run.model_copy(update={"objective": objective, "model": model})


def _clip_config(run: Run) -> dict[str, Any] | None:
    """Return open_clip's sizes of a run's towers, where it has two."""
    if "context" not in run.objective:
        return None
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(run.model.name)
    return config


def _language_model(name: str) -> dict[str, int]:
    """Return layers, width and heads of a released GPT-2, by its name or from its folder."""
    if name in _GPT2:
        layers, width, heads = _GPT2[name]
        return {"n_layer": layers, "n_embd": width, "n_head": heads}
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(name, local_files_only=True)
    return {"n_layer": config.n_layer, "n_embd": config.n_embd, "n_head": config.n_head}


def _stand_in(run: Run, subject: Subject) -> StandIn | CaptionedSet:
    """Return what stands in for a run's data: of one that reads captions, with as many words."""
    classes = tuple(map(str, range(subject.classes)))
    grey = bool(run.objective.get("grey"))
    channels = 3 if grey else int(run.model.args.get("in_chans", 3))
    if not {"style", "styles"} & run.objective.keys():
        return StandIn(classes, channels)
    words = " ".join(f"w{number}" for number in range(subject.words))
    images, labels = torch.empty(0, channels, 1, 1), torch.empty(0, dtype=torch.long)
    return CaptionedSet("outline", "train", images, labels, classes, "", {PLAIN: [[words]]})


# ---- training ----
def count_step(run: Run, method: Method, subject: Subject) -> Step:
    """Count a training step of a run, its optimiser left out; ``method`` is an outline."""
    method.train()
    for module in method.modules():  # as on a GPU
        if hasattr(module, "fused_attn"):
            cast(Any, module).fused_attn = True
    with _counted(method) as counter, Kept(method) as kept:
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
    own = run.model_copy(update={"augment": augment})
    return count_step(own, method, subject)


def training_loss(method: Method, run: Run, subject: Subject) -> Tensor:
    """Return a scalar to go backward from, after a training step's forward pass on meta images."""
    own = _named(TRAINING, method)
    if own is not None:
        return own(method, run, subject)
    if run.augment is None:
        raise NotImplementedError(
            f"{run.method!r}: its samples are no images; add it to reprise.budget.counting"
        )
    images = _images(run, run.augment.size, run.augment.size)
    labels = torch.zeros(BATCH, dtype=torch.long, device=META)
    batch = Batch((images,) * method.num_views, labels, labels)
    loss: Tensor = method(batch, Draws(Key(("budget",)), BATCH, device=META))["loss"]
    return loss


def _named(table: dict[str, F], method: Method) -> F | None:
    """Return a table's entry of a method's class, or of the nearest one that it is made from."""
    names = (f"{one.__module__}.{one.__qualname__}" for one in type(method).__mro__)
    return next((table[name] for name in names if name in table), None)


def _recipe(method: Any, run: Run, subject: Subject) -> Tensor:
    size = method.recipe.image.size
    scores: Tensor = method.head(method.encode(_images(run, size, size)))
    return scores.float().sum()


def _segment(method: Any, run: Run, subject: Subject) -> Tensor:
    images = _images(run, method.settings.crop, method.settings.crop)
    maps = method.pyramid(method.encoder, images)
    total: Tensor = method._upsampled(method._coarse(maps), images).sum()
    if method.auxiliary is not None:
        total = total + method._upsampled(method.auxiliary(maps[AUXILIARY_MAP]), images).sum()
    return total


def _detect(method: Any, run: Run, subject: Subject) -> Tensor:
    height, width = method.settings.cost_size
    if subject.height and subject.width:
        scale = sum(method.settings.scale) / 2
        height, width = round(scale * subject.height), round(scale * subject.width)
    return detected(method, _images(run, height, width), training=True)


def _capdec(method: Any, run: Run, subject: Subject) -> Tensor:
    settings = method.settings
    length = min(settings.longest, CAPTION_TOKENS)
    embedded = torch.empty(BATCH, settings.embedding, device=META)
    tokens = torch.zeros(BATCH, length, dtype=torch.long, device=META)
    scores: Tensor = method.decoder(embedded, tokens)
    return scores.float().sum()


def _clip(method: Any, run: Run, subject: Subject) -> Tensor:
    assert run.augment is not None
    images = method.image_embeddings(_images(run, run.augment.size, run.augment.size))
    texts: Tensor = method.towers.encode_text(_texts(method))
    loss: Tensor = (images @ texts.mT).float().sum()
    return loss


TRAINING: dict[str, Callable[[Any, Run, Subject], Tensor]] = {
    RECIPE: _recipe,
    SEGMENT: _segment,
    DETECT: _detect,
    CAPDEC: _capdec,
    CLIP: _clip,
}


def detected(method: Any, images: Tensor, training: bool) -> Tensor:
    """Return the sum of all that a detector's heads say of images [B, C, H, W] on meta.

    Where boxes have no place, Mask R-CNN reads off as many as it may.
    """
    detector, settings = method.detector, method.settings
    prepared, _ = detector.transform(list(images))
    maps = detector.backbone(prepared.tensors)
    if not method.has_masks:
        outputs: dict[str, Tensor] = detector.head(list(maps.values()))
        return torch.stack([one.float().sum() for one in outputs.values()]).sum()
    found = [one.float().sum() for part in detector.rpn.head(list(maps.values())) for one in part]
    boxes, masks = settings.test_proposals, settings.detections
    if training:
        boxes, masks = settings.rois, max(1, settings.rois // POSITIVE_SHARE)
    like, heads = next(iter(maps.values())), detector.roi_heads
    width = settings.channels
    cells = like.new_empty(len(images) * boxes, width, 7, 7).requires_grad_(like.requires_grad)
    fine = like.new_empty(len(images) * masks, width, 14, 14).requires_grad_(like.requires_grad)
    found += [one.float().sum() for one in heads.box_predictor(heads.box_head(cells))]
    found.append(heads.mask_predictor(heads.mask_head(fine)).float().sum())
    return torch.stack(found).sum()


# ---- inference ----
def count_pass(run: Run, method: Method, height: int, width: int) -> Passed:
    """Count an inference on images of a size, head included; ``method`` is an outline.

    Of a decoder of embeddings, one position of its language model.
    """
    method.eval()
    with _counted(method) as counter, torch.no_grad():
        shares = inferred(method, run, height, width)
    parameters = sum(one.numel() for one in method.parameters())
    return Passed((counter.total() + counter.extra) / shares, parameters)


def inferred(method: Method, run: Run, height: int, width: int) -> int:
    """Infer on meta images; return how many equal shares that was."""
    own = _named(INFERENCE, method)
    if own is not None:
        return own(method, run, height, width)
    infer, _ = inference(method)
    infer(_images(run, height, width))
    return BATCH


def _infer_detect(method: Any, run: Run, height: int, width: int) -> int:
    detected(method, _images(run, height, width), training=False)
    return BATCH


def _infer_capdec(method: Any, run: Run, height: int, width: int) -> int:
    settings = method.settings
    tokens = torch.zeros(BATCH, CAPTION_TOKENS, dtype=torch.long, device=META)
    method.decoder(torch.empty(BATCH, settings.embedding, device=META), tokens)
    return int(BATCH * (settings.prefix + CAPTION_TOKENS))


INFERENCE: dict[str, Callable[[Any, Run, int, int], int]] = {
    DETECT: _infer_detect,
    CAPDEC: _infer_capdec,
}


def feature_width(run: Run, method: Method, height: int, width: int) -> int:
    """Return how many numbers an image's features are."""
    method.eval()
    with torch.no_grad():
        return int(method.features(_images(run, height, width)).shape[-1])


def count_text(method: Any) -> Passed:
    """Count the text tower of an outlined CLIP, for one text."""
    method.eval()
    with _counted(method) as counter, torch.no_grad():
        method.towers.encode_text(_texts(method))
    return Passed(counter.total() / BATCH, sum(one.numel() for one in method.parameters()))


def _texts(method: Any) -> Tensor:
    return torch.zeros(BATCH, method.settings.context, dtype=torch.long, device=META)


def _images(run: Run, height: int, width: int) -> Tensor:
    channels = int(run.model.args.get("in_chans", 3))
    return torch.empty(BATCH, channels, height, width, device=META)


# ---- counters ----
class Counter:
    """FLOPs of what has been called so far, and those that layers add by their own word."""

    def __init__(self, mode: FlopCounterMode) -> None:
        self._mode, self.extra = mode, 0.0

    def total(self) -> float:
        return float(self._mode.get_total_flops())

    def note(self, multiply_adds: float) -> None:
        self.extra += 2 * multiply_adds


@contextlib.contextmanager
def _counted(method: nn.Module) -> Iterator[Counter]:
    """Count all that is called within."""
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward}
    mode = FlopCounterMode(display=False, custom_mapping=mapping)
    counter = Counter(mode)

    def hook(module: nn.Module, given: tuple[Any, ...], _out: Any) -> None:
        counter.note(cast(Any, module).extra_multiply_adds(*given))

    own = [one for one in method.modules() if hasattr(one, "extra_multiply_adds")]
    hooks = [one.register_forward_hook(hook) for one in own]
    try:
        with mode:
            yield counter
    finally:
        for one in hooks:
            one.remove()


def _convolution_backward(
    grad_shape: list[int],
    input_shape: list[int],
    weight_shape: list[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    *args: Any,
    out_shape: Any = None,
    **kwargs: Any,
) -> int:
    """Return a convolution's backward FLOPs: its forward ones for each gradient that is wanted.

    torch's own count leaves the groups out of the weights' gradient, and so has hundreds of times
    too many for depthwise convolutions.
    """
    wanted = args[-1]  # whether the gradients of input, weights and bias are
    once = conv_flop_count(input_shape, weight_shape, grad_shape, transposed=transposed)
    return int(once * sum(map(bool, wanted[:2])))


class Kept(TorchFunctionMode):
    """Adds up the bytes of what is kept for the backward pass within, a module's weights aside.

    Attention counts as a fused one keeps it, queries, keys, values and output: the plain form that
    the meta device takes would keep all weights of all pairs of tokens.
    """

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        own = (*method.parameters(), *method.buffers())
        self._own = {one.untyped_storage()._cdata for one in own}
        self._storages: dict[int, Any] = {}  # kept alive, so that none takes another's place
        self._in_attention = False
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """Bytes of all different storages noted."""
        return sum(storage.nbytes() for storage in self._storages.values())

    def __enter__(self) -> "Kept":
        super().__enter__()  # type: ignore[no-untyped-call]
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        self._in_attention = True
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            self._in_attention = False
        for tensor in (*args[:3], out):
            self._note(tensor)
        return out

    def _note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not self._in_attention and storage._cdata not in self._own:
            self._storages[storage._cdata] = storage
        return tensor
