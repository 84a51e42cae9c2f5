"""Embeddings of a frozen CLIP: computed once for all the runs that read them, and kept as files.

They lie in the state folder, keyed by the CLIP's run and the data, like all that can be made again.
A file is written whole or not at all; of several processes that want it, one makes it and the
others wait.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from reprise import locks
from reprise.captions.vocabulary import captioned
from reprise.data.base import ImageSet
from reprise.data.captioned import PLAIN
from reprise.data.transforms import normalise
from reprise.errors import ConfigError
from reprise.files import write_atomic
from reprise.methods.clip import CLIP
from reprise.plan import RunJob
from reprise.progress import bar, say
from reprise.provenance import digest_of, digest_of_file, digest_of_sources, sources
from reprise.training.loop import autocast, resolve_precision
from reprise.training.run import build, load_weights, read_meta, training_data

# Samples of one forward pass; on a CPU a small batch stays in its caches.
BATCH = {"cpu": 128, "cuda": 512}


def of_images(clip: RunJob, data: ImageSet, device: torch.device) -> Tensor:
    """Return embeddings float32 [N, D], not scaled, of all images of a split, on the CPU."""
    return _cached(clip, data, "images", device, partial(_embed_images, clip, data, device))


def of_captions(clip: RunJob, data: ImageSet, device: torch.device, style: str = PLAIN) -> Tensor:
    """Return embeddings float32 [M, D], not scaled, of all captions of a split, image by image."""
    texts = [text for index in range(len(data)) for text in captioned(data).captions(index, style)]
    return _cached(clip, data, style, device, partial(_embed_texts, clip, texts, device))


def owners(data: ImageSet, style: str = PLAIN) -> Tensor:
    """Return the image of each caption of a split, int64 [M]."""
    counts = [len(captioned(data).captions(index, style)) for index in range(len(data))]
    return torch.arange(len(data)).repeat_interleave(torch.tensor(counts))


def frozen(clip: RunJob, device: torch.device) -> CLIP:
    """Return the CLIP of a finished run; ConfigError where that run is something else."""
    method = load_weights(clip, build(clip, training_data(clip)))
    if not isinstance(method, CLIP):
        raise ConfigError(f"{clip.key}: its method is {clip.run.method!r}, but a CLIP is wanted")
    return method.to(device).eval()


def _cached(
    clip: RunJob, data: ImageSet, what: str, device: torch.device, make: Callable[[], Tensor]
) -> Tensor:
    read_meta(clip)  # its weights are there, and current
    made_from = {
        "clip": clip.digest,
        # Equal settings can have led to other weights, on another machine.
        "weights": digest_of_file(clip.folder / "model.safetensors"),
        "precision": resolve_precision(clip.run.precision, device),
        "data": data.digest,
        "what": what,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "sources": digest_of_sources(sources("reprise.captions.embeddings")),
    }
    key = digest_of(made_from)
    folder = clip.project.state_root / "embeddings"
    file = folder / f"{data.name}-{data.split}-{what}-{key[:16]}.safetensors"
    with locks.hold(file.with_suffix(".lock"), what=f"embeddings {file.stem}", wait=True):
        found = _read(file)
        if found is None:
            found = make().clone()  # out of inference mode, so that it can be trained on
            write_atomic(file, safetensors.torch.save({"embeddings": found}))
    return found


def _read(file: Path) -> Tensor | None:
    if not file.is_file():
        return None
    try:
        return safetensors.torch.load_file(file)["embeddings"]
    except (SafetensorError, KeyError, OSError) as error:
        say(f"{file}: {error}; making it again")
        return None


def _embed_images(clip: RunJob, data: ImageSet, device: torch.device) -> Tensor:
    model, augment = frozen(clip, device), clip.run.augment
    if augment is None:
        raise ConfigError(f"{clip.key}: needs augment, which says how its images are normalised")

    def embed(chosen: Tensor) -> Tensor:
        return model.image_embeddings(normalise(data.fetch(chosen)[0].to(device), augment))

    return _in_batches(torch.arange(len(data)), embed, clip, device, f"images of {data.split}")


def _embed_texts(clip: RunJob, texts: Sequence[str], device: torch.device) -> Tensor:
    model = frozen(clip, device)
    tokens = model.tokens(texts)
    # Texts of like length share a batch, which is computed no longer than its longest.
    order = tokens.argmax(dim=1).argsort(stable=True)

    def embed(chosen: Tensor) -> Tensor:
        return model.text_embeddings(tokens[chosen].to(device))

    made = _in_batches(order, embed, clip, device, "captions")
    return torch.empty_like(made).index_copy_(0, order, made)


@torch.inference_mode()
def _in_batches(
    chosen: Tensor,
    embed: Callable[[Tensor], Tensor],
    clip: RunJob,
    device: torch.device,
    label: str,
) -> Tensor:
    """Return float32 embeddings on the CPU, in the order of the indices chosen."""
    precision, parts = resolve_precision(clip.run.precision, device), []
    with bar(f"{clip.key}: {label}", len(chosen)) as shown, autocast(precision, device):
        for part in chosen.split(BATCH[device.type]):
            parts.append(embed(part).float().cpu())
            shown.advance(len(part))
    return torch.cat(parts)
