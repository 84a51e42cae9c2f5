"""What scenes show, as numbers: which garments in which colours and sizes, where, before what.

A scene holds one to three garments in a line along an axis, or one alone in a place. Garments of
the same class and tint that stand beside each other are one *entity*, so "two red bags and a blue
shirt" is three garments and two entities. Entities of a scene differ in class and in tint.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from reprise.data.scenes.domains import TINTS, Domain
from reprise.data.scenes.patterns import UNIT
from reprise.data.scenes.whole import FULL, between
from reprise.data.sets.fashion_mnist import CLASSES
from reprise.errors import DataError
from reprise.training.seeding import Draws, Key

SLOTS = 3  # garments in a scene, at most
KINDS = len(CLASSES)
# Entity of the garment in each slot, by form of the scene: -1 where there is none.
FORMS = (
    (0, -1, -1),
    (0, 0, -1),
    (0, 0, 0),
    (0, 1, -1),
    (0, 0, 1),
    (0, 1, 1),
    (0, 1, 2),
)
FREQUENCY = (0.30, 0.11, 0.07, 0.32, 0.05, 0.05, 0.10)  # of each form
SMALL, MEDIUM, LARGE = 0, 1, 2
# Sizes that the entities of a form may have together; what is not listed would not fit.
SIZES: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((0, 0, 0), (1, 1, 1), (2, 2, 2)),
    ((0, 0, 0), (1, 1, 1)),
    ((0, 0, 0),),
    ((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 2, 0), (2, 0, 0), (1, 2, 0), (2, 1, 0)),
    ((0, 0, 0),),
    ((0, 0, 0),),
    ((0, 0, 0),),
)
# Sides of small, medium and large garments in units, by number of garments: lowest and highest.
SIDES = (
    ((14, 16), (21, 24), (32, 37)),
    ((14, 16), (20, 22), (27, 29)),
    ((14, 16), (14, 16), (14, 16)),
)
LAP = 5  # garments in a line cover each other by a fifth of the smaller one's side, at most
MIDDLE = 4  # of the nine places of a garment alone, row by row
SCENE, ENTITY, GARMENT = 12, 2, 4  # random numbers of a scene, of an entity, of a garment


@dataclass(frozen=True)
class Photographs:
    """Photographs of one split and role, uint8 [N, 28, 28], and which of each class are in use.

    Class k has ``members[starts[k] : starts[k] + counts[k]]``, indices int64 into the images.
    """

    images: Tensor
    members: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def share(cls, images: Tensor, labels: Tensor, low: float, high: float) -> "Photographs":
        """Use, of each class, those from share low to share high in the order of the data set.

        Raises DataError where that leaves a class without any.
        """
        parts, counts = [], []
        for kind in range(KINDS):
            members = (labels == kind).nonzero().squeeze(1)
            parts.append(members[round(low * len(members)) : round(high * len(members))])
            counts.append(len(parts[-1]))
        if not all(counts):
            raise DataError(f"{CLASSES[counts.index(0)]}: too few photographs to draw scenes from")
        sizes = torch.tensor(counts)
        return cls(images, torch.cat(parts), sizes.cumsum(0) - sizes, sizes)


@dataclass(frozen=True)
class Scenes:
    """B scenes, int64 unless said otherwise.

    By scene, [B]: ``form`` (index into FORMS), ``axis`` (0 where the garments' line runs from
    left to right, 1 from top to bottom), ``place`` (0..8, of a garment alone), ``background``,
    its window's ``across`` and ``down`` in the texture (pixels) and its ``light`` (256ths),
    ``reverse`` (1 where later garments lie behind earlier ones). By entity, [B, 3], -1 where there
    is none: ``kind`` (class), ``tint``, ``size`` (SMALL, MEDIUM or LARGE). By garment, [B, 3]:
    ``photo`` (index into the photographs, -1 where there is none), ``side``, ``top``, ``left``.
    """

    form: Tensor
    axis: Tensor
    place: Tensor
    background: Tensor
    across: Tensor
    down: Tensor
    light: Tensor
    reverse: Tensor
    kind: Tensor
    tint: Tensor
    size: Tensor
    photo: Tensor
    side: Tensor
    top: Tensor
    left: Tensor

    def __len__(self) -> int:
        return len(self.form)

    @property
    def entity(self) -> Tensor:
        """Entity of each garment, -1 where there is none, int64 [B, 3]."""
        return torch.tensor(FORMS)[self.form]

    @property
    def garment_kind(self) -> Tensor:
        """Class of each garment, -1 where there is none, int64 [B, 3]."""
        entity = self.entity
        return torch.where(entity < 0, -1, self.kind.gather(1, entity.clamp(min=0)))

    @property
    def labels(self) -> Tensor:
        """Class of the largest garment of each scene, the first of equals, int64 [B]."""
        return self.garment_kind.gather(1, self.side.argmax(1, keepdim=True)).squeeze(1)

    @property
    def unseen(self) -> Tensor:
        """Whether a scene shows a class in a tint that was held out, bool [B]."""
        return ((self.kind >= 0) & held_out()[self.kind, self.tint]).any(1)

    def rows(self) -> list[dict[str, Any]]:
        """Return each scene's numbers, and lists of them, by name."""
        columns = {part.name: getattr(self, part.name).tolist() for part in fields(self)}
        columns["entity"] = self.entity.tolist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def held_out() -> Tensor:
    """Return the pairs of class and tint that only test scenes show, bool [10, TINTS].

    Two tints of every class, so that every tint is held out with two classes.
    """
    kind, tint = torch.arange(KINDS).unsqueeze(1), torch.arange(TINTS)
    return (tint == (3 * kind + 1) % TINTS) | (tint == (3 * kind + 6) % TINTS)


class World:
    """Draws the scenes of one domain and size; scene i of a split is a function of the seed."""

    def __init__(self, domain: Domain, size: int, seed: int) -> None:
        self.domain, self.size = domain, size
        self.key = Key(("fashion_scenes", domain.name, seed))
        self._sides = torch.tensor(SIDES) * size // UNIT
        most = max(map(len, SIZES))
        self._sizes = torch.tensor([[*some, *[some[0]] * (most - len(some))] for some in SIZES])
        self._options = torch.tensor([len(some) for some in SIZES])
        self._ends = torch.tensor(FREQUENCY, dtype=torch.float64).cumsum(0)
        first = [tint.names[0] for tint in domain.tints]
        self._hides = torch.tensor([[n in bg.hides for n in first] for bg in domain.backgrounds])

    def draw(
        self, photos: Photographs, split: str, start: int, count: int, every: bool = False
    ) -> Scenes:
        """Return scenes start..start+count; ``every`` allows the tints that are held out, too.

        ``start`` is a multiple of `reprise.training.seeding.BLOCK`.
        """
        draws = Draws(self.key.fold(split), count, start)
        numbers = draws.uniform("scene", SCENE + SLOTS * (ENTITY + GARMENT)).double()
        common = numbers[:, :SCENE].unbind(1)
        entities = numbers[:, SCENE : SCENE + SLOTS * ENTITY].view(-1, SLOTS, ENTITY)
        garments = numbers[:, SCENE + SLOTS * ENTITY :].view(-1, SLOTS, GARMENT).unbind(2)
        form = torch.searchsorted(self._ends, common[0].contiguous(), right=True)
        form = form.clamp(max=len(FORMS) - 1)
        kind, tint = self._coloured(form, entities, every)
        size = self._sizes[form, between(common[1], 0, self._options[form] - 1)]
        size = torch.where(kind < 0, -1, size)
        return Scenes(
            form=form,
            kind=kind,
            tint=tint,
            size=size,
            photo=self._photo(form, kind, garments[0], photos),
            background=self._background(common[7], tint),
            across=between(common[8], 0, self.size // 2),
            down=between(common[9], 0, self.size // 2),
            light=between(common[10], FULL * 7 // 8, FULL),
            reverse=between(common[11], 0, 1),
            **self._lie(form, size, common, garments),
        )

    def _lie(
        self, form: Tensor, size: Tensor, common: Sequence[Tensor], garments: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Return axis and place of each scene, side, top and left of its garments."""
        _, side, along, aside = garments
        axis, place = between(common[2], 0, 1), between(common[3], 0, 8)
        # What fills most of the scene is in its middle and nowhere else.
        place = torch.where((form == 0) & (size[:, 0] == LARGE), MIDDLE, place)
        sides = self._side(form, size, side)
        top, left = self._line(sides, axis, along, aside, common[4])
        down = self._third(sides[:, 0], place // 3, common[5])
        across = self._third(sides[:, 0], place % 3, common[6])
        top[:, 0] = torch.where(form == 0, down, top[:, 0])
        left[:, 0] = torch.where(form == 0, across, left[:, 0])
        return {"axis": axis, "place": place, "side": sides, "top": top, "left": left}

    def _coloured(self, form: Tensor, drawn: Tensor, every: bool) -> tuple[Tensor, Tensor]:
        """Return class and tint of each entity, int64 [B, 3], all different within a scene."""
        taken = held_out() if not every else torch.zeros(KINDS, TINTS, dtype=torch.bool)
        kinds: list[Tensor] = []
        tints: list[Tensor] = []
        for slot in range(SLOTS):
            kind_, tint_ = drawn[:, slot].unbind(1)
            free = _free(kinds, torch.ones(len(form), KINDS, dtype=torch.bool))
            kinds.append(_one_of(free, kind_))
            tints.append(_one_of(_free(tints, ~taken[kinds[-1]]), tint_))
        entities = torch.tensor(FORMS).amax(1)[form].unsqueeze(1)
        absent = torch.arange(SLOTS) > entities
        kind, tint = (torch.stack(some, 1).masked_fill(absent, -1) for some in (kinds, tints))
        return kind, tint

    def _background(self, drawn: Tensor, tint: Tensor) -> Tensor:
        """Return a background on which all of a scene's tints show, int64 [B]."""
        hidden = self._hides.T[tint] & (tint >= 0).unsqueeze(2)
        return _one_of(~hidden.any(1), drawn)

    def _photo(self, form: Tensor, kind: Tensor, drawn: Tensor, photos: Photographs) -> Tensor:
        entity = torch.tensor(FORMS)[form]
        kinds = kind.gather(1, entity.clamp(min=0))
        members = photos.members[photos.starts[kinds] + between(drawn, 0, photos.counts[kinds] - 1)]
        return torch.where(entity < 0, -1, members)

    def _side(self, form: Tensor, size: Tensor, drawn: Tensor) -> Tensor:
        """Return each garment's side, 0 where there is none: int64 [B, 3]."""
        entity = torch.tensor(FORMS)[form]
        number = (entity >= 0).sum(1, keepdim=True)
        low, high = self._sides[number - 1, size.gather(1, entity.clamp(min=0))].unbind(2)
        return torch.where(entity < 0, 0, between(drawn, low, high))

    def _line(
        self, side: Tensor, axis: Tensor, along: Tensor, aside: Tensor, base: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return top and left of garments in a line, [B, 3]: one after another along the axis."""
        present = side > 0
        after = torch.cat([side[:, 1:], torch.zeros_like(side[:, :1])], 1)
        # What the garment before the next needs at least; the last one needs its whole side.
        step = torch.where(after > 0, side - torch.minimum(side, after) // LAP, side)
        slack = (self.size - step.sum(1, keepdim=True)).clamp(min=0)
        gaps = between(along.masked_fill(~present, 1 - 2**-24).sort(1).values, 0, slack)
        first = gaps + step.cumsum(1) - step
        widest = side.amax(1, keepdim=True)
        shift = between(base.unsqueeze(1), 0, self.size - widest)
        jitter = between(aside, -(self.size // 24), self.size // 24)
        second = (shift + (widest - side) // 2 + jitter).clamp(min=0)
        second = torch.minimum(second, self.size - side)
        first = torch.minimum(first, self.size - side)
        upright = axis.bool().unsqueeze(1)
        return torch.where(upright, first, second), torch.where(upright, second, first)

    def _third(self, side: Tensor, third: Tensor, drawn: Tensor) -> Tensor:
        """Return where a garment begins on an axis, [B]: at its start (0), middle (1), end (2)."""
        room, jitter = self.size - side, self.size // 24
        middle = (room // 2 + between(drawn, -jitter, jitter)).clamp(min=0)
        edge = torch.minimum(between(drawn, 0, jitter), room)
        options = torch.stack([edge, torch.minimum(middle, room), room - edge], 1)
        return options.gather(1, third.unsqueeze(1)).squeeze(1)


def _free(taken: list[Tensor], allowed: Tensor) -> Tensor:
    """Return allowed, bool [B, K], less what each scene has taken before, int64 [B] each."""
    for values in taken:
        allowed = allowed.scatter(1, values.unsqueeze(1), False)
    return allowed


def _one_of(allowed: Tensor, drawn: Tensor) -> Tensor:
    """Return one of the allowed of each row of bool [B, K], int64 [B], by numbers in [0, 1)."""
    chosen = between(drawn, 1, allowed.sum(1))
    return (allowed.cumsum(1) >= chosen.unsqueeze(1)).long().argmax(1)
