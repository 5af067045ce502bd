"""The codecs that others have published: where their files are, what they may be used for, and how large they are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import DacConfig, EncodecConfig

from codec_ft.codecs.lac import LacConfig
from codec_ft.codecs.models import CodecConfig, count_bytes, count_parameters

MIT = "MIT"
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Release:
    """One published file of weights.

    Attributes:
        name: what `load_codec` knows it as.
        file: its name in the cache, which is that in the cache of the original package.
        url: where it is fetched from.
        sha256: its hash or the first digits of it; None if nobody published one, so that the first copy is trusted.
        licence_code: licence of the original code.
        licence_weights: licence of the weights.
        config: the architecture.
        original_cache: gives the folder in which the original package keeps the file, if it has one.
        n_bytes: size of the file; None if it has not been seen, so that it is estimated.
        width_known: False where the width of the decoder was not published, and only the file tells it.
    """

    name: str
    file: str
    url: str
    sha256: str | None
    licence_code: str
    licence_weights: str
    config: CodecConfig
    original_cache: Callable[[], Path] | None = None
    n_bytes: int | None = None
    width_known: bool = True

    @cached_property
    def parameters(self) -> int | None:
        """Parameters of the model, or None where the decoder's width was not published."""
        return count_parameters(self.config) if self.width_known else None

    @property
    def size(self) -> str:
        """The size of the file in words, as "307 MB"."""
        return f"{(self.n_bytes or count_bytes(self.config)) / 1e6:.0f} MB"


def _encodec(name: str, sha256: str, config: EncodecConfig) -> Release:
    """A release of facebookresearch/encodec.

    The code has been MIT since April 2023. The licence of the weights was never stated: the question stands unanswered
    as number 69 of the repository's issues. The hash is the one in the name of the file.
    """
    file = f"{name}-{sha256}.th"
    return Release(
        name=name,
        file=file,
        url=f"https://dl.fbaipublicfiles.com/encodec/v0/{file}",
        sha256=sha256,
        licence_code=MIT,
        licence_weights=NOT_STATED,
        config=config,
        original_cache=lambda: Path(torch.hub.get_dir()) / "checkpoints",
    )


def _dac(
    name: str, tag: str, asset: str, cached_as: str, sha256: str | None, config: DacConfig, n_bytes: int | None = None
) -> Release:
    """A release of descriptinc/descript-audio-codec, whose code and weights are MIT.

    Its authors published no hashes; those given here are the ones that other projects check these files by.
    """
    return Release(
        name=name,
        file=f"weights_{cached_as}_{tag}.pth",
        url=f"https://github.com/descriptinc/descript-audio-codec/releases/download/{tag}/{asset}",
        sha256=sha256,
        licence_code=MIT,
        licence_weights=MIT,
        config=config,
        original_cache=lambda: Path.home() / ".cache" / "descript" / "dac",
        n_bytes=n_bytes,
    )


_ALL = (
    _encodec("encodec_24khz", "d7cc33bc", EncodecConfig()),
    _encodec(
        "encodec_48khz",
        "7e698e3e",
        EncodecConfig(
            sampling_rate=48000,
            audio_channels=2,
            normalize=True,
            chunk_length_s=1.0,
            overlap=0.01,
            norm_type="time_group_norm",
            use_causal_conv=False,
            target_bandwidths=[3.0, 6.0, 12.0, 24.0],
        ),
    ),
    _dac(
        "dac_44khz",
        "0.0.1",
        "weights.pth",
        "44khz_8kbps",
        "a88eed82a7024ccc1facdb1e605c4c2f99281c8118c22c9895ffa846d8fb61aa",
        DacConfig(sampling_rate=44100, n_codebooks=9),
        n_bytes=306_717_287,
    ),
    _dac(
        "dac_44khz_16kbps",
        "1.0.0",
        "weights_44khz_16kbps.pth",
        "44khz_16kbps",
        None,
        DacConfig(sampling_rate=44100, n_codebooks=18, hidden_size=128),  # type: ignore[call-arg]
        n_bytes=256_984_809,
    ),
    _dac(
        "dac_24khz",
        "0.0.4",
        "weights_24khz.pth",
        "24khz_8kbps",
        "44bad592fc393e03eb0be7a5120b7d487fe9612fa41269dc03fca3d4b87e20ad",
        DacConfig(sampling_rate=24000, n_codebooks=32, downsampling_ratios=[2, 4, 5, 8]),
    ),
    _dac(
        "dac_16khz",
        "0.0.5",
        "weights_16khz.pth",
        "16khz_8kbps",
        "95ab7176b67137d4d4c6c54b8d6ef3cea797faec228cb03ad084badcad570b4d",
        DacConfig(sampling_rate=16000, n_codebooks=12, downsampling_ratios=[2, 4, 5, 8]),
    ),
    Release(
        name="vampnet",
        file="vampnet_codec.pth",
        # Zenodo record 8136629 has it too, inside an archive.
        url="https://huggingface.co/hugggof/vampnet/resolve/main/codec.pth",
        sha256=None,
        licence_code=MIT,
        licence_weights="CC BY-NC-SA 4.0",
        config=LacConfig(),
        n_bytes=180_000_000,  # about: what exports of its encoder and its decoder weigh together
        width_known=False,
    ),
)

RELEASES: dict[str, Release] = {release.name: release for release in _ALL}
