"""Training pairs with the latents and codes that were stored of them."""

import torch
from torch.utils.data import Dataset

from codec_ft.codecs.base import Codec
from codec_ft.data.dataset import Item, PairDataset
from codec_ft.encoded.read import EncodedSet
from codec_ft.errors import UserError


class EncodedPairs(Dataset[Item]):
    """The items of a `PairDataset`, with `target_latents` [D, T] and `target_codes` [K, T] of the clean stem.

    Args:
        pairs: the pairs, on a grid; their gain must be 0 dB, since a louder stem has other latents.
        codec: what coded them.
        inputs: give `input_latents` [(1 + n) * D, T] as well, of the input and, below it, its context.
        whole: read them from tracks that were coded in one piece: excerpts begin at any frame, and their first and last
            frames have heard what lies beside them.
        audio: read the audio; without, `input` and `target` are empty, [C, 0], and reading takes far less time.

    Raises:
        UserError: a gain, a remix, noise, or pairs without a grid make stored latents useless; or what is stored does
            not fit (see `EncodedSet`).
    """

    def __init__(
        self, pairs: PairDataset, codec: Codec, *, inputs: bool = False, whole: bool = False, audio: bool = True
    ) -> None:
        if pairs.grid_seconds is None:
            raise UserError(
                "data.encoded=true: needs excerpts on a grid. Set data.grid_seconds, as in `encode --grid`."
            )
        if pairs.gain_db != (0.0, 0.0):
            low, high = pairs.gain_db
            raise UserError(
                f"data.gain_db=({low:g}, {high:g}): a louder stem has other latents than those that are stored. Set it "
                "to (0, 0), or data.encoded to false."
            )
        if inputs and pairs.remix_probability > 0:
            raise UserError(
                f"data.remix_probability={pairs.remix_probability:g}: a remix has no stored latents. Set it to 0, or "
                "data.encoded to false."
            )
        if pairs.swap_channels:
            raise ValueError("swapped channels have other latents than those that are stored")
        self.pairs = pairs
        self.inputs = inputs
        self.audio = audio
        self.n_frames = codec.n_frames(round(pairs.seconds * codec.sample_rate))
        self.stored = EncodedSet(
            pairs.tracks,
            codec,
            stem=pairs.stem,
            sources=[*pairs.inputs, *pairs.context] if inputs else [],
            seconds=None if whole else pairs.seconds,
            grid_seconds=None if whole else pairs.grid_seconds,
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Item:
        """Draw and read item `index`.

        Raises:
            AudioFileError: an audio file has disappeared or is broken.
        """
        draw = self.pairs.draw(index)
        track, start = draw.excerpt.track, draw.excerpt.start_seconds
        if self.audio:
            item = self.pairs.read(draw)
        else:
            nothing = torch.empty(self.pairs.reader.channels, 0)
            item = {"input": nothing, "target": nothing, "name": draw.name, "index": index}
        item["target_latents"], item["target_codes"] = self.stored.read(track, "target", start, self.n_frames)
        if self.inputs:
            heard = (draw.input, *self.pairs.context)
            latents = [self.stored.read(track, source, start, self.n_frames)[0] for source in heard]
            item["input_latents"] = torch.cat(latents)
        return item
