"""The 48 kHz EnCodec (Défossez et al., 2022), which codes audio second by second."""

import math
from bisect import bisect_right

import torch
from torch import Tensor, nn
from transformers import EncodecModel

from codec_ft.codecs.base import EncoderStart, outside_autocast
from codec_ft.codecs.encodec import EuclideanCodec
from codec_ft.errors import UserError


class SegmentedEncodecCodec(EuclideanCodec):
    """An EnCodec that cuts audio into overlapping segments and normalises each: the stereo 48 kHz model.

    Segments of `segment_length` samples (1 s) start every `segment_stride` samples (0.99 s) as long as there is audio,
    so the last ones may be shorter. Each is divided by its own level, encoded alone and gives its own frames: the
    frames of all segments follow each other in time, and are not evenly spaced over the overlaps. `decode` fades
    from segment to segment. Segments are encoded and decoded one at a time, as the original does: several in one
    batch change the last bits of the LSTM's output (3e-7 of the largest latent), and on a CPU are slower.

    Attributes:
        segment_length: samples of a full segment.
        segment_stride: samples from one segment's start to the next one's.

    Raises:
        UserError: the model has no segments, or they are no whole number of frames.
    """

    def __init__(self, model: EncodecModel, name: str):
        config = model.config
        length, stride = config.chunk_length, config.chunk_stride
        if length is None or stride is None:
            raise UserError(
                f"{name}: expected an EnCodec model with segments, this one has "
                f"chunk_length_s={config.chunk_length_s}, overlap={config.overlap}. Choose another codec."
            )
        if length % config.hop_length:
            raise UserError(
                f"{name}: segments of {length} samples are no whole number of frames of {config.hop_length} samples. "
                "Choose another codec, or mend chunk_length_s in its config.json."
            )
        super().__init__(model, name)
        self.segment_length, self.segment_stride = length, stride

    def n_frames(self, n_samples: int) -> int:
        """See `Codec.n_frames`; more than `N / hop_length`, because segments overlap."""
        return sum(self._segment_frames(n_samples))

    def n_samples(self, n_frames: int) -> int:
        """See `Codec.n_samples`."""
        # The frames never become fewer when audio becomes longer, and take no less than `hop_length` samples each.
        longest = bisect_right(range(n_frames * self.hop_length + 1), n_frames, key=self.n_frames) - 1
        if longest == 0 or self.n_frames(longest) != n_frames:
            raise ValueError(
                f"{self.name}: no audio gives {n_frames} frames; {longest} samples give {self.n_frames(longest)}, "
                f"one more {self.n_frames(longest + 1)}"
            )
        return longest

    def encode(self, audio: Tensor) -> Tensor:
        """See `Codec.encode`."""
        scales = self.scales(audio)
        with outside_autocast(audio):
            latents = []
            for i, segment in enumerate(self._segments(audio.float())):
                latents.append(self.encoder(segment if scales is None else segment / scales[:, i, None, None]))
            return torch.cat(latents, dim=2)

    def scales(self, audio: Tensor) -> Tensor | None:
        """See `Codec.scales`: the root mean square of each segment, mixed to mono."""
        self.check_audio(audio)
        if not self.config.normalize:
            return None
        scales = []
        for segment in self._segments(audio.float()):
            power = (segment.sum(dim=1) / self.channels).pow(2).mean(dim=-1)
            # The smallest positive number changes no bit of the sum, but spares silence a gradient of 0 * infinity.
            scales.append(power.clamp(min=torch.finfo(power.dtype).tiny).sqrt() + 1e-8)
        return torch.stack(scales, dim=1)

    def decode(self, latents: Tensor, length: int | None = None, scales: Tensor | None = None) -> Tensor:
        """See `Codec.decode`; segments that overlap are faded into each other by triangular weights."""
        self.check_latents(latents)
        length = self.check_length(latents.shape[-1], length)
        frames = self._segment_frames(self.n_samples(latents.shape[-1]))
        self._check_scales(scales, latents.shape[0], len(frames))
        # The triangle is as long as the first segment, which is the longest; later ones use as much of it as they need.
        ramp = torch.linspace(0, 1, frames[0] * self.hop_length + 2, device=latents.device)[1:-1]
        weights = 0.5 - (ramp - 0.5).abs()
        # The last segment need not be the one that reaches furthest, if it lies within the overlap with the one before.
        total = max(i * self.segment_stride + n * self.hop_length for i, n in enumerate(frames))
        audio = torch.zeros(latents.shape[0], self.channels, total, device=latents.device)
        total_weight = torch.zeros(total, device=latents.device)
        with outside_autocast(latents):
            for i, part in enumerate(latents.float().split(frames, dim=2)):
                segment = self.decoder(part)
                if scales is not None:
                    segment = segment * scales[:, i, None, None].float()
                here = slice(i * self.segment_stride, i * self.segment_stride + segment.shape[-1])
                audio[..., here] += weights[: segment.shape[-1]] * segment
                total_weight[here] += weights[: segment.shape[-1]]
        return (audio / total_weight)[..., :length]

    def new_encoder(self, start: EncoderStart) -> nn.Module:
        """There is none.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{self.name}: has no encoder to train: it works on {self.channels} channels, and on segments that it "
            "normalises one by one. Choose a mono codec, as encodec_24khz or dac_44khz."
        )

    def _starts(self, n_samples: int) -> range:
        return range(0, n_samples, self.segment_stride)

    def _segments(self, audio: Tensor) -> list[Tensor]:
        """The segments `[B, C, n]` of `audio [B, C, N]`."""
        return [audio[..., start : start + self.segment_length] for start in self._starts(audio.shape[-1])]

    def _segment_frames(self, n_samples: int) -> list[int]:
        """Frames of each segment of audio of `n_samples` samples."""
        lengths = [min(self.segment_length, n_samples - start) for start in self._starts(n_samples)]
        return [math.ceil(length / self.hop_length) for length in lengths]

    def _check_scales(self, scales: Tensor | None, n_items: int, n_segments: int) -> None:
        if not self.config.normalize:
            self.check_no_scales(scales)
        if scales is not None and scales.shape != (n_items, n_segments):
            raise ValueError(
                f"{self.name}: expected scales [B={n_items}, {n_segments}], one per segment, got {list(scales.shape)}"
            )
