"""What each step of a training meets: which samples, of which process, and how they are cut."""

from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from reprise.data.base import ImageSet, Photographs
from reprise.data.cropping import Crop
from reprise.errors import ConfigError
from reprise.training.distributed import World
from reprise.training.seeding import (
    REPEATING,
    Draws,
    Key,
    batch_indices,
    on_block,
    repeated,
    share_of_batch,
)


class Steps(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Item s is the share of step s that this process trains on: indices, images, labels.

    Images are uint8 [B, C, H, W]; crops of whole photographs [V, B, C, H, W], a view each.
    """

    def __init__(
        self, data: ImageSet, subset: Tensor | None, batch_size: int, key: Key, world: World
    ) -> None:
        self._data, self._subset, self._batch_size, self._key = data, subset, batch_size, key
        self.total = len(data) if subset is None else len(subset)
        self.start, self.count = share_of_batch(batch_size, world.rank, world.size)
        self._crop: Crop | None = None

    def cut(self, crop: Crop, views: int, copies: int) -> None:
        """Cut crops of whole photographs from now on, for so many views, of samples so often."""
        if not isinstance(self._data, Photographs):
            raise ConfigError(
                f"whole_photographs: data set {self._data.name!r} keeps no photographs but arrays; "
                "with args.keep: files it would (sets of photographs in files alone)"
            )
        if copies > 1:
            on_block(self.draws(0), REPEATING)
        self._crop, self._views, self._copies = crop, views, copies

    def draws(self, step: int, device: torch.device | str = "cpu") -> Draws:
        """Return the random numbers of a step's samples."""
        return Draws(self._key.fold("step", step), self.count, self.start, device)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        chosen = batch_indices(self.total, self._batch_size, step, self._key.fold("order"))
        chosen = chosen[self.start : self.start + self.count]
        if self._subset is not None:
            chosen = self._subset[chosen]
        if self._crop is None:
            return chosen, *self._data.fetch(chosen)
        chosen = chosen[repeated(len(chosen), self._copies)]
        draws = self.draws(step).fold("view")
        views = [draws.fold(view) for view in range(self._views)]
        photographs = cast(Photographs, self._data)
        return chosen, *photographs.crops(chosen, self._crop, views)
