"""What counts are: plain numbers, which need no torch to be read again."""

from dataclasses import dataclass

CAPTION_TOKENS = 24  # of the longest caption in a batch, and of a caption that is said
PLAIN = "captions"  # the style of captions that have none
SMALL_VOCABULARY = 340  # words of the demo's captions; a released model brings its own


@dataclass(frozen=True)
class Subject:
    """What a run's model must be told of its data: classes, words of captions, sides of photos."""

    classes: int
    height: int = 0
    width: int = 0
    words: int = SMALL_VOCABULARY


@dataclass(frozen=True)
class Step:
    """One sample's share of a training step, and what a process holds whatever its batch."""

    parameters: int
    trained: int
    forward_flops: float
    flops: float  # forward and backward
    saved_bytes: float  # kept for the backward pass, as float32


@dataclass(frozen=True)
class Passed:
    """One image's share of a forward pass."""

    flops: float
    parameters: int
