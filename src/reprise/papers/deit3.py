"""DeiT III: a training recipe that makes plain vision transformers strong (arXiv 2204.07118).

The recipe is data: `params/papers/deit3.yaml`. Here it meets the model. In the order of a step:

1. repeated augmentation: every image stands in the batch ``repeats`` times;
2. 3-Augment and a crop (`reprise.data.three_augment`), drawn anew for every copy;
3. Mixup or CutMix (timm), one of the two for a whole batch;
4. a plain ViT (timm) with LayerScale and stochastic depth of one rate in all blocks;
5. binary cross-entropy, in which both mixed classes count as present.

LAMB and its schedule are the engine's. Images come as pixels in 0..1, whatever their size, and are
normalised here, after augmentation; so a run's ``augment`` is ``{size: <side of the data>, mean:
[0], std: [1]}``.
"""

from collections.abc import Mapping
from typing import Any, cast

import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from timm.data import Mixup
from timm.layers import DropPath, resample_abs_pos_embed
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from reprise.config import Run
from reprise.data.base import ImageSet
from reprise.data.cropping import Crop, of_recipe
from reprise.data.three_augment import recipe_augment
from reprise.errors import ConfigError
from reprise.methods.supervised import Supervised
from reprise.models.attention import choose_attention
from reprise.models.released import State, released
from reprise.plan import RunJob
from reprise.settings.base import Augment
from reprise.settings.deit3 import Settings
from reprise.settings.supervised import Settings as HeadSettings
from reprise.training.method import Batch, Subject
from reprise.training.seeding import REPEATING, Draws, on_block, repeated


class Recipe(Supervised):
    """A classifier under a recipe."""

    def __init__(self, encoder: nn.Module, classes: int, recipe: Settings) -> None:
        super().__init__(encoder, classes, HeadSettings())
        self.recipe, self.classes = recipe, classes
        self.image, self.repeats = recipe.image, recipe.repeats
        self.mix = mixing(recipe, classes)
        self.loss: nn.Module = SoftTargetCrossEntropy()
        if recipe.loss == "bce":
            self.loss = BinaryCrossEntropy(smoothing=0.0, target_threshold=0.0)

    def cut(self, augment: Augment) -> Crop:
        """Let the loop repeat and crop; what is left of the augmentation is done here."""
        crop = of_recipe(self.recipe.image)
        self.copies, self.image = (
            self.repeats,
            self.recipe.image.model_copy(update={"crop": "none"}),
        )
        self.repeats = 1
        return crop

    def forward(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        if self.repeats > 1:
            on_block(draws, REPEATING)
        kept = repeated(len(batch.labels), self.repeats).to(batch.labels.device)
        pixels, labels = batch.views[0][kept], batch.labels[kept]
        images = self.normalised(recipe_augment(pixels, self.image, draws.fold("recipe")))
        images, targets = self.mixed(images, labels)
        scores = self.head(self.encode(images)).float()
        agrees = (scores.argmax(dim=1) == targets.argmax(dim=1)).float().mean()
        return {"loss": self.loss(scores, targets), "top1": 100 * agrees}

    def mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and soft targets float32 [B, classes], mixed if the recipe says so."""
        if self.mix is not None:
            images, targets = self.mix(images, labels)
            return images, targets.float()
        smoothing = self.recipe.label_smoothing
        targets = F.one_hot(labels, self.classes).float()
        return images, targets * (1 - smoothing) + smoothing / self.classes

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return (pixels - mean) / std of float32 [B, C, H, W] in 0..1."""
        mean, std = (
            torch.tensor(values, device=pixels.device).view(-1, 1, 1)
            for values in (self.recipe.image.mean, self.recipe.image.std)
        )
        return (pixels - mean) / std

    def prepared(self, pixels: Tensor) -> Tensor:
        """Return test images [B, C, test_size, test_size]: resized, cropped in the centre."""
        size = self.recipe.test_size
        whole = int(size / self.recipe.test_crop)
        if pixels.shape[-2:] != (whole, whole):
            pixels = F.interpolate(pixels, (whole, whole), mode="bicubic", antialias=True)
        start = (whole - size) // 2
        return self.normalised(pixels[..., start : start + size, start : start + size].clamp(0, 1))

    def features(self, images: Tensor) -> Tensor:
        """Return float [B, D] of test images: pixels [B, C, H, W] in 0..1."""
        return self.encode(self.prepared(images))

    def encode(self, images: Tensor) -> Tensor:
        """Return float [B, D] of normalised images of the encoder's size."""
        choose_attention(self.encoder, images.device)
        found: Tensor = self.encoder(images)
        return found

    def attach(self, job: RunJob, data: ImageSet) -> None:
        """Take over the head, too, of a run that this one starts from, where the classes agree."""
        if job.init_job is None:
            return
        stored = safetensors.torch.load_file(job.init_job.folder / "model.safetensors")
        for name, mine in self.head.named_parameters():
            theirs = stored.get(f"head.{name}")
            if theirs is not None and theirs.shape == mine.shape:
                mine.data.copy_(theirs)


def mixing(recipe: Settings, classes: int) -> Mixup | None:
    """Return timm's Mixup, which takes CutMix instead for half of the batches; None: no mixing."""
    if not (recipe.mixup or recipe.cutmix):
        return None
    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        prob=recipe.mix_prob,
        label_smoothing=recipe.label_smoothing,
        num_classes=classes,
    )


def build(run: Run, data: Subject) -> Recipe:
    """Build the classifier of a run from its settings, or take its released weights.

    Raises ConfigError where its model is no plain vision transformer, or the weights do not fit.
    """
    recipe, classes = Settings.model_validate(run.objective), len(data.classes)
    args = architecture(run.model.args, recipe)
    if recipe.weights is None:
        model = timm.create_model(run.model.name, num_classes=classes, **args)
    else:
        model = released(recipe.weights, run.model.name, classes, args, timm_names)
    if not isinstance(model, VisionTransformer):
        raise ConfigError(f"model.name: {run.model.name} is no plain vision transformer")
    head = model.get_classifier()
    model.reset_classifier(0)
    adapt(model, recipe, fresh=recipe.weights is None)
    method = Recipe(model, classes, recipe)
    if recipe.weights is not None:
        method.head.load_state_dict(head.state_dict())
    return method


def architecture(args: Mapping[str, Any], recipe: Settings) -> dict[str, Any]:
    """Return timm's arguments of a plain ViT under a recipe, over those of the run."""
    return {
        "img_size": recipe.image.size,
        "init_values": recipe.layer_scale or 0.0,  # create_model drops a None
        "pos_drop_rate": recipe.dropout,
        "proj_drop_rate": recipe.dropout,
        **args,
    }


def adapt(encoder: VisionTransformer, recipe: Settings, fresh: bool) -> None:
    """Set what timm's models do otherwise than the paper.

    timm lets stochastic depth grow over the blocks and begins the class token near zero. Position
    embeddings of another resolution are resampled when a run starts from another one's weights.
    """
    rates = [recipe.drop_path] * len(encoder.blocks)
    if recipe.drop_path_schedule == "linear":
        rates = torch.linspace(0, recipe.drop_path, len(encoder.blocks)).tolist()
    for block, rate in zip(cast(Any, encoder.blocks), rates, strict=True):
        block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)
    if fresh and encoder.cls_token is not None:
        nn.init.trunc_normal_(encoder.cls_token, std=0.02)
    encoder.register_load_state_dict_pre_hook(_resample_positions)


def _resample_positions(
    encoder: VisionTransformer, state: dict[str, Tensor], prefix: str, *_: object
) -> None:
    stored, own = state.get(f"{prefix}pos_embed"), encoder.pos_embed
    if stored is None or own is None or stored.shape == own.shape:
        return
    prefix_tokens = 0 if encoder.no_embed_class else encoder.num_prefix_tokens
    state[f"{prefix}pos_embed"] = resample_abs_pos_embed(
        stored, encoder.patch_embed.grid_size, num_prefix_tokens=prefix_tokens
    )


def timm_names(state: State, model: nn.Module) -> State:
    """Return tensors of the official layout, or of timm's, under timm's names.

    Position embeddings stay as they are: those of another resolution shall be refused.
    """
    positions = {name: state[name] for name in ("pos_embed",) if name in state}
    rest = {name: value for name, value in state.items() if name not in positions}
    named = checkpoint_filter_fn(rest, cast(VisionTransformer, model), adapt_layer_scale=True)
    return {**named, **positions}
