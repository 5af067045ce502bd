"""How an evaluation measures."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        sample_rate: in Hz; None is that of each reference.
        channels: None is that of each reference.
        align: take constant delays out.
        codec: whose ceiling, tokens and latents are measured; None is none.
        embedding: of the Frechet distance; None is the codec's latents, where there is a codec.
        fad_reference: folder of other clean tracks that the Frechet distance is measured from; None takes the
            references themselves.
        codec_seconds: tokens and embeddings are those of so many seconds of each item, the loudest of its reference;
            None is all of it.
        bss: also ISR, SIR and SAR.
        tools: external tools to ask, see `codec_ft.metrics.external`.
        device: where codec and embedding compute.
    """

    sample_rate: int | None = None
    channels: int | None = None
    align: bool = False
    codec: str | None = "demo"
    embedding: str | None = None
    fad_reference: Path | None = None
    codec_seconds: float | None = 10.0
    bss: bool = False
    tools: tuple[str, ...] = ()
    device: str = "cpu"
