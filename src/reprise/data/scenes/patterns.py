"""Backgrounds: textures from which a scene's background is cut, int64 [3, C, C] of 0..255.

Each pattern is made by a function of a `Grid`; lengths are in units of a 48th of the scene's side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from reprise.training.seeding import Key

UNIT = 48  # a scene's side in units
HORIZON = 42  # where a wall meets the floor; a scene's window begins at 0 to 24 units

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Grid:
    """Coordinates of a texture of ``side`` pixels for scenes of ``size``; randomness of ``key``."""

    size: int
    side: int
    key: Key

    @property
    def y(self) -> Tensor:
        """Row in units, int64 [side, 1]."""
        return (torch.arange(self.side) * UNIT // self.size).unsqueeze(1)

    @property
    def x(self) -> Tensor:
        """Column in units, int64 [1, side]."""
        return self.y.T

    def noise(self, name: str, low: int, high: int, grain: int = 1) -> Tensor:
        """Return whole numbers low..high for each square of ``grain`` units, int64 [side, side]."""
        cells = self.side * UNIT // self.size // grain + 1
        generator = self.key.fold(name).generator()
        drawn = torch.randint(low, high + 1, (cells, cells), generator=generator)
        return drawn[self.y // grain, self.x // grain]


Pattern = Callable[[Grid], Tensor]


def flat(grid: Grid, colour: Colour) -> Tensor:
    """Return one colour everywhere, int64 [3, side, side]."""
    return torch.tensor(colour).view(3, 1, 1).expand(3, grid.side, grid.side)


def plain(colour: Colour) -> Pattern:
    """A wall: one colour with a faint grain."""

    def pattern(grid: Grid) -> Tensor:
        return flat(grid, colour) + grid.noise("grain", -4, 4)

    return pattern


def _two(chosen: Callable[[Grid], Tensor], first: Colour, second: Colour) -> Pattern:
    """First colour where ``chosen`` (bool [side, side]) is true, second elsewhere."""

    def pattern(grid: Grid) -> Tensor:
        return torch.where(chosen(grid), flat(grid, first), flat(grid, second))

    return pattern


def stripes(first: Colour, second: Colour) -> Pattern:
    """Upright stripes of both colours."""
    return _two(lambda grid: grid.x % 10 < 5, first, second)


def checks(first: Colour, second: Colour) -> Pattern:
    """A chessboard of both colours."""
    return _two(lambda grid: (grid.x // 8 + grid.y // 8) % 2 == 0, first, second)


def dots(first: Colour, second: Colour) -> Pattern:
    """Round dots of the first colour on the second, every other row shifted."""

    def chosen(grid: Grid) -> Tensor:
        row = grid.y // 9
        across = (grid.x + row % 2 * 5) % 10 - 5
        return across**2 + (grid.y % 9 - 4) ** 2 <= 6

    return _two(chosen, first, second)


def bricks(brick: Colour, mortar: Colour) -> Pattern:
    """Rows of bricks, each of a slightly different shade."""

    def pattern(grid: Grid) -> Tensor:
        row = grid.y // 6
        along = grid.x + row % 2 * 6
        joint = (grid.y % 6 == 5) | (along % 12 == 11)
        shades = grid.noise("bricks", -16, 16, 6)
        return torch.where(joint, flat(grid, mortar), flat(grid, brick) + shades)

    return pattern


def tiles(tile: Colour, joint: Colour) -> Pattern:
    """Square tiles with joints."""
    return _two(lambda grid: (grid.x % 12 > 0) & (grid.y % 12 > 0), tile, joint)


def speckle(colour: Colour, swing: int, grain: int = 1) -> Pattern:
    """Ground of one colour that is lighter and darker from grain to grain (of that many units)."""

    def pattern(grid: Grid) -> Tensor:
        coarse = grid.noise("coarse", -swing // 3, swing // 3, 5)
        return flat(grid, colour) + grid.noise("fine", -swing, swing, grain) + coarse

    return pattern


def patches(colours: tuple[Colour, ...], grain: int) -> Pattern:
    """Ground of squares (of ``grain`` units), each of one of the colours."""

    def pattern(grid: Grid) -> Tensor:
        number = grid.noise("patch", 0, len(colours) - 1, grain)
        shades = grid.noise("shade", -12, 12)
        return torch.tensor(colours)[number].permute(2, 0, 1) + shades

    return pattern


def above(upper: Pattern, lower: Pattern) -> Pattern:
    """One pattern above the horizon and another below."""

    def pattern(grid: Grid) -> Tensor:
        return torch.where(grid.y < HORIZON, upper(grid), lower(grid))

    return pattern


def planks(colour: Colour) -> Pattern:
    """A floor of boards."""

    def pattern(grid: Grid) -> Tensor:
        gap = (grid.y % 5 == 4).expand(grid.side, grid.side)
        shades = grid.noise("boards", -10, 10, 5)
        return flat(grid, colour) + shades - 45 * gap

    return pattern


def street(grid: Grid) -> Tensor:
    """Asphalt with a broken white line, and a pale pavement above the kerb."""
    asphalt = flat(grid, (82, 84, 90)) + grid.noise("asphalt", -8, 8)
    line = (grid.y - HORIZON - 8) // 2 == 0
    dashed = line & (grid.x % 14 < 8)
    road = torch.where(dashed, flat(grid, (235, 235, 225)), asphalt)
    slabs = flat(grid, (158, 155, 150)) - 25 * ((grid.x % 12 == 0) | (grid.y % 12 == 0)).long()
    kerb = (grid.y >= HORIZON - 2) & (grid.y < HORIZON)
    pavement = torch.where(kerb, flat(grid, (195, 195, 195)), slabs)
    return torch.where(grid.y < HORIZON, pavement, road)


def gradient(top: Colour, bottom: Colour) -> Pattern:
    """From one colour at the top to the other at the bottom."""

    def pattern(grid: Grid) -> Tensor:
        start, end = flat(grid, top), flat(grid, bottom)
        return start + (end - start) * torch.arange(grid.side).unsqueeze(1) // grid.side

    return pattern


def stars(sky: Colour) -> Pattern:
    """A dark sky with single bright points."""

    def pattern(grid: Grid) -> Tensor:
        bright = grid.noise("stars", 0, 99) < 3
        return torch.where(bright, flat(grid, (255, 250, 225)), flat(grid, sky))

    return pattern


def clouds(sky: Colour) -> Pattern:
    """White discs in a coloured sky."""

    def pattern(grid: Grid) -> Tensor:
        cloud = torch.zeros(grid.side, grid.side, dtype=torch.bool)
        generator = grid.key.fold("clouds").generator()
        for y, x, width in torch.randint(0, 76, (14, 3), generator=generator).tolist():
            reach = 5 + width // 12
            cloud |= (grid.y - y) ** 2 * 3 + (grid.x - x) ** 2 < reach**2
        return torch.where(cloud, flat(grid, (240, 243, 248)), flat(grid, sky))

    return pattern


def trunks(grid: Grid) -> Tensor:
    """Dark upright trunks before dark green leaves."""
    leaves = flat(grid, (38, 78, 48)) + grid.noise("leaves", -16, 16, 2)
    wood = flat(grid, (78, 58, 44)) + grid.noise("bark", -8, 8)
    return torch.where((grid.x * 7 // 6) % 13 < 4, wood, leaves)


def waves(colour: Colour) -> Pattern:
    """Water with pale rows of crests."""

    def pattern(grid: Grid) -> Tensor:
        swell = (grid.x % 12 - 6).abs() // 2
        crest = (grid.y + swell) % 8 == 0
        return flat(grid, colour) + 70 * crest + grid.noise("water", -5, 5)

    return pattern


def flowers(grid: Grid) -> Tensor:
    """Grass with small flowers in it."""
    grass = speckle((96, 150, 70), 18)(grid)
    kind = grid.noise("flowers", 0, 60, 2)
    shown = torch.where(kind == 0, flat(grid, (250, 240, 120)), grass)
    return torch.where(kind == 1, flat(grid, (245, 170, 210)), shown)


def texture(pattern: Pattern, size: int, key: Key) -> Tensor:
    """Return a texture for scenes of ``size`` pixels, half a scene larger: uint8 [3, C, C]."""
    return pattern(Grid(size, size + size // 2, key)).clamp(0, 255).to(torch.uint8)
