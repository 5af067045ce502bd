"""What chance decides about an item of training data, before anything is read."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from codec_ft.data.excerpts import Excerpt
from codec_ft.data.remix import Part
from codec_ft.data.speed import UNCHANGED


@dataclass(frozen=True)
class Draw:
    """What chance decided about an item.

    Attributes:
        index: the item's.
        excerpt: where it begins, and how long it is once it is played.
        input: the input, of those that there are.
        remix: what stands beside the target in a mixture that is made anew; None for the mixture as it is.
        speed: at which all audio of the item is played, in percent.
        gain: factor that all audio of the item shares.
        swap: whether left and right are exchanged.
    """

    index: int
    excerpt: Excerpt
    input: str
    remix: tuple[Part, ...] | None
    speed: int
    gain: np.float32
    swap: bool

    @property
    def name(self) -> str:
        """How messages and pages call the item."""
        speed = "" if self.speed == UNCHANGED else f" at {self.speed} % speed"
        return self.excerpt.name + speed + " (remix)" * (self.remix is not None)


def draw_by_shares(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    """One of some names, each as likely as its share."""
    limits = np.cumsum(list(shares.values()))
    return list(shares)[int(np.searchsorted(limits[:-1], rng.random() * limits[-1], side="right"))]
