"""Captioned data, a decoder and a workspace small enough to train in a moment."""

import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from reprise.captions.vocabulary import Words
from reprise.config import Project, Run, load_project
from reprise.data.base import ImageSet, prepare
from reprise.data.captioned import CaptionedSet
from reprise.methods import clip
from reprise.methods.clip import CLIP
from reprise.papers.capdec import CapDec, Decoder
from reprise.plan import RunJob
from reprise.settings.capdec import Settings
from reprise.training import run as training_run
from reprise.training.method import Batch
from reprise.training.seeding import Draws, Key

ROOT = Path(__file__).parents[2]
WIDTH = 12  # of embeddings and of the language model
WORDS = ["a", "bag", "boot", "cat", "coat", "dog", "in", "near", "of", "on", "red", "shirt", "sun"]
SMALL = {"embedding": WIDTH, "prefix": 2, "clip_tokens": 3, "mapper_layers": 1, "mapper_heads": 2}
SMALL |= {"longest": 9, "beams": 3}


def pairs(n: int = 200, captions: int = 3) -> CaptionedSet:
    """Return noise of 8 x 8 pixels in colour with captions of one to eight words."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=generator).to(torch.uint8)
    texts = [[said(7 * index + k) for k in range(captions)] for index in range(n)]
    digest, labels = "digest", torch.arange(n) % 4
    return CaptionedSet(
        "tiny", "train", images, labels, tuple("abcd"), digest, {"captions": texts, "odd": texts}
    )


def said(seed: int) -> str:
    """Return a caption of one to eight words."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(WORDS), (1 + seed % 8,), generator=generator)
    return " ".join(WORDS[place] for place in chosen)


def make(**settings: Any) -> CapDec:
    """Return a decoder of a few words, in evaluation mode, with large weights."""
    torch.manual_seed(0)
    chosen, words = Settings.model_validate({**SMALL, **settings}), Words(WORDS)
    config = GPT2Config(
        vocab_size=words.size,
        n_positions=chosen.prefix + chosen.longest,
        n_embd=WIDTH,
        n_layer=1,
        n_head=2,
        bos_token_id=words.end,
        eos_token_id=words.end,
        initializer_range=0.6,
    )
    return CapDec(Decoder(GPT2LMHeadModel(config), chosen), words, chosen).eval()


def unit(n: int, width: int = WIDTH, seed: int = 0) -> Tensor:
    """Return random embeddings [n, width] of length 1."""
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)))


def batch(embedded: Tensor, tokens: Tensor) -> Batch:
    return Batch((embedded,), tokens, torch.arange(len(tokens)))


def draws(n: int, step: int = 0, start: int = 0) -> Draws:
    return Draws(Key(("test", step)), n, start)


def workspace(root: Path, *edits: tuple[str, str, str]) -> Project:
    """Copy the parameters to a folder, edit them, and prepare the captioned data of scale smoke.

    An edit is a file, what is replaced there once, and by what. All runs compute in float32.
    """
    shutil.copytree(ROOT / "params", root / "params")
    paper = "papers/capdec.yaml"
    for file, old, new in (
        (paper, "  clip:\n", "  clip:\n    precision: fp32\n"),
        (paper, "  base:\n", "  base:\n    precision: fp32\n"),
        *edits,
    ):
        path = root / "params" / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1))
    project = load_project(root, "smoke")
    data = project.dataset("captions")
    prepare(data.name, project.data_root, data.args, lambda _: None, data.home)
    return project


def job(project: Project, name: str) -> RunJob:
    return RunJob(project, "capdec", name, 0)


def split(project: Project, name: str) -> ImageSet:
    return training_run.load_data(project, "captions", name)


def tiny_clip(**settings: Any) -> CLIP:
    """Return a CLIP from scratch of images of 8 x 8 pixels, and of a few words."""
    torch.manual_seed(0)
    model = {
        "embed_dim": WIDTH,
        "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 16, "layers": 2, "head_width": 8},
        "text_cfg": {"width": 16, "heads": 2, "layers": 2},
    }
    run = Run.model_validate(
        {
            "method": "clip",
            "data": "any",
            "model": {"name": "scratch", "args": model},
            "objective": {"context": 12, **settings},
            "augment": {"size": 8},
            "optim": {"lr": 1e-3},
            "steps": 1,
            "batch_size": 64,
        }
    )
    return clip.build(run, pairs())
