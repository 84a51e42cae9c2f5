"""What HiLo's branches let through: the spectra of their outputs in a trained model.

The paper shows the logarithm of the magnitudes, averaged over images, for some channels (its Figure
5; the authors' code is in their repository's issue 3). Here that is a picture, and the share of the
outputs' energy above a radius is the number. Their mean belongs to the energy, as in the paper's
maps: what a branch spreads evenly over the map is the lowest frequency of all.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from reprise.errors import ConfigError
from reprise.evaluators._base import Context, Measured, Result
from reprise.models.hilo import HiLo
from reprise.settings.evaluators import Spectrum

BRANCHES = {"hifi": "h_proj", "lofi": "l_proj"}  # a branch's output is that of its projection


def evaluate(context: Context, settings: Spectrum, name: str) -> Result:
    """Measure both branches of every HiLo layer that has both.

    Metrics: ``hifi`` and ``lofi``, percent of the energy above the radius, mean over layers and
    images. Pictures: log-magnitudes of channels of the first layer's branches, low frequencies in
    the centre, both branches on one scale of grey.
    """
    layers = both_branches(context.method)
    if not layers:
        raise ConfigError(
            f"{context.job.key}: {name!r} needs a model with a HiLo layer that has heads in both "
            "of its branches; remove the evaluator"
        )
    data = context.data(settings.data, settings.split)
    count = min(settings.images, len(data))
    chosen = torch.arange(count) * len(data) // count
    branches = {key: [Branch(layer, part) for layer in layers] for key, part in BRANCHES.items()}

    def shares(images: Tensor) -> Tensor:
        """Return percent float32 [B, 2] of the energy above the radius, of both branches."""
        context.method.features(images)
        return torch.stack([_mean(found, settings.radius) for found in branches.values()], dim=1)

    everything = [one for found in branches.values() for one in found]
    for one in everything:
        one.listen()
    try:
        high = context.forward(data, chosen, shares, name).numpy()
    finally:
        for one in everything:
            one.stop()
    pictures = drawn({key: found[0] for key, found in branches.items()}, settings.channels)
    info = {"images": count, "layers": len(layers), "radius": settings.radius}
    metrics = [Measured(key, "mean", one) for key, one in zip(branches, high.T, strict=True)]
    return Result(data, metrics, pictures, info)


def both_branches(model: nn.Module) -> list[HiLo]:
    """Return the HiLo layers of a model that have both branches."""
    found = [module for module in model.modules() if isinstance(module, HiLo)]
    return [layer for layer in found if layer.hifi_heads and layer.lofi_heads]


@dataclass
class Branch:
    """The outputs of one layer's branch: the last one's spectrum, and all log-magnitudes summed."""

    layer: HiLo
    part: str
    spectrum: Tensor = field(default_factory=lambda: torch.empty(0))
    total: Tensor | float = 0.0
    images: int = 0
    _handle: RemovableHandle | None = None

    def listen(self) -> None:
        """Take note of every output until `stop`."""
        self._handle = self.layer.get_submodule(self.part).register_forward_hook(self._note)

    def stop(self) -> None:
        """Listen no more."""
        if self._handle is not None:
            self._handle.remove()

    def _note(self, _module: nn.Module, _given: Any, maps: Tensor) -> None:
        self.spectrum = spectrum(maps)
        # A magnitude may be 0 in a model without weights to speak of; float32 knows no less.
        logs = self.spectrum.abs().clamp_min(torch.finfo(torch.float32).tiny).log()
        self.total = self.total + logs.sum(0)
        self.images += len(maps)

    @property
    def magnitudes(self) -> NDArray[np.float32]:
        """Mean natural logarithm of the magnitudes, [H, W, C]."""
        return np.asarray((torch.as_tensor(self.total) / self.images).cpu())


def spectrum(maps: Tensor) -> Tensor:
    """Return the Fourier transform over height and width of [B, H, W, C]: low in the centre."""
    found: Tensor = torch.fft.fftshift(torch.fft.fft2(maps.float(), dim=(1, 2)), dim=(1, 2))
    return found


def high_share(found: Tensor, radius: float) -> Tensor:
    """Return float32 [B]: percent of the energy of spectra [B, H, W, C] above a radius.

    The radius is a share of the Nyquist frequency, half a cycle a pixel. A map of zeros has 0.
    """
    height, width = found.shape[1:3]
    down, right = (torch.fft.fftshift(torch.fft.fftfreq(n)) for n in (height, width))
    distance = 2 * torch.hypot(down[:, None], right).to(found.device)
    energy = found.abs().square().sum(-1)
    above, whole = (energy * (distance > radius)).sum((1, 2)), energy.sum((1, 2))
    return 100 * above / whole.clamp_min(torch.finfo(torch.float32).tiny)


def _mean(branches: list[Branch], radius: float) -> Tensor:
    return torch.stack([high_share(one.spectrum, radius) for one in branches]).mean(0)


def drawn(branches: dict[str, Branch], channels: int) -> dict[str, NDArray[np.uint8]]:
    """Return label -> uint8 [channels, H, W] of log-magnitudes: black the least, white the most."""
    if not channels:
        return {}
    labels = {"hifi": "Hi-Fi", "lofi": "Lo-Fi"}
    chosen = {labels[key]: _channels(one.magnitudes, channels) for key, one in branches.items()}
    low = min(float(one.min()) for one in chosen.values())
    span = max(float(one.max()) for one in chosen.values()) - low
    scale = 255 / span if span > 0 and math.isfinite(span) else 0.0
    return {
        f"{label}: log-magnitude by frequency, channels side by side": np.round(
            (one - low) * scale
        ).astype(np.uint8)
        for label, one in chosen.items()
    }


def _channels(magnitudes: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    total = magnitudes.shape[-1]
    chosen = np.arange(min(count, total)) * total // min(count, total)
    return np.moveaxis(magnitudes[..., chosen], -1, 0)
