"""A toy test set of captions, and where the real slices lie."""

import os
import random
from pathlib import Path

from reprise.captions.tokens import Tokens

SHARED = Path(os.environ.get("REPRISE_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
FIXTURES = SHARED / "caption_eval_fixtures"
FLICKR8K = SHARED / "flickr8k_2000"

NOUNS = ("dog", "cat", "shirt", "boot", "bag", "coat", "tree", "wall", "boy", "sandal")
VERBS = ("sits", "lies", "stands", "runs", "is")
PLACES = ("left", "right", "front", "back", "middle", "sun")


def sentence(draw: random.Random) -> str:
    """Return a caption in lower case without punctuation."""
    first, second = draw.sample(NOUNS, 2)
    extra = draw.choice(("", " and looks at it", " near a small " + draw.choice(NOUNS)))
    place = draw.choice(PLACES)
    return f"a {first} {draw.choice(VERBS)} in the {place} of the {second}{extra}"


def toy(images: int = 60, references: int = 3, seed: int = 0) -> Tokens:
    """Return tokens with an exact copy, an empty candidate, and one with nothing in common."""
    draw = random.Random(seed)
    several = tuple(tuple(sentence(draw) for _ in range(references)) for _ in range(images))
    candidates = [sentence(draw) for _ in range(images)]
    candidates[3] = several[3][1]
    candidates[7] = ""
    candidates[11] = "zebra zebra crossing"
    return Tokens(tuple(f"photo-{n}" for n in range(images)), several, tuple(candidates))
