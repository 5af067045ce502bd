"""What there is to say about a number: its name, unit, meaning, and which way is better."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down", "zero"]
"""More is better, less is better, or the nearer to zero the better."""


@dataclass(frozen=True)
class Metric:
    """One row of the table of metrics: how a report names, explains and sums up a number.

    `name` is a heading for people, `unit` is empty for a pure number, `direction` says which way is better,
    `definition` is a sentence or two, `source` who defined it. `over_tracks` is how the numbers of several tracks
    become one: what the source says, the mean where it says nothing.
    """

    name: str
    unit: str
    direction: Direction
    definition: str
    source: str
    over_tracks: Literal["mean", "median"] = "mean"

    @property
    def arrow(self) -> str:
        """Sign of the better direction."""
        return {"up": "↑", "down": "↓", "zero": "→0"}[self.direction]
