"""Several data sets dealt out in turn."""

from collections.abc import Sequence

from torch.utils.data import Dataset

from codec_ft.data.dataset import Item

APART = 2**26
"""Numbers between the first items of two data sets; more than a training has items of one."""


class Interleaved(Dataset[Item]):
    """Data sets dealt out in turn: item i is item `i // n` of data set `i % n`.

    The items of each are numbered in a row, from a multiple of `APART` on.
    """

    def __init__(self, parts: Sequence[Dataset[Item]]):
        self.parts = list(parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)  # type: ignore[arg-type, misc]

    def __getitem__(self, index: int) -> Item:
        part, place = index % len(self.parts), index // len(self.parts)
        item = self.parts[part][place]
        item["index"] = part * APART + place
        return item
