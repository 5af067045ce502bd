"""Embeddings by name."""

import difflib
from pathlib import Path

import torch

from codec_ft.codecs.load import codec_names, load_codec
from codec_ft.embeddings.base import Embedding
from codec_ft.embeddings.clap import ClapEmbedding
from codec_ft.embeddings.codec import CodecEmbedding
from codec_ft.embeddings.vggish import VggishEmbedding
from codec_ft.errors import UserError

WITH_WEIGHTS = {"vggish": "vggish=FILE", "clap": "clap=FOLDER_OR_ID"}
"""Embeddings whose weights the user has, and how they are given."""


def load_embedding(name: str, device: torch.device | str = "cpu") -> Embedding:
    """Load a frozen embedding.

    Args:
        name: a codec as `load_codec` takes it ("demo", "encodec_24khz", a folder, ...), whose latents are taken;
            `vggish=FILE` with the file `vggish-10086976.pth`; or `clap=FOLDER_OR_ID`.
        device: where to compute.

    Raises:
        UserError: the name is unknown, or files are missing or broken.
    """
    kind, given, source = name.partition("=")
    if kind in WITH_WEIGHTS and not source:
        raise UserError(f"{name}: the weights are missing. Say where they are: {WITH_WEIGHTS[kind]}.")
    if kind == "vggish":
        return VggishEmbedding(Path(source).expanduser(), device)
    if kind == "clap":
        return ClapEmbedding(source, device)
    # What has a slash may be a path or a model of the hub, of which the codecs' loader knows more.
    if name in codec_names() or "/" in name or Path(name).exists():
        return CodecEmbedding(load_codec(name).to(device))
    known = [*codec_names(), *WITH_WEIGHTS]
    near = difflib.get_close_matches(kind if given else name, known, n=1)
    hint = f" Did you mean {WITH_WEIGHTS.get(near[0], near[0])}?" if near else ""
    raise UserError(
        f"{name}: no such embedding.{hint} Give a codec ({', '.join(codec_names())}, or the path of one), "
        f"{' or '.join(WITH_WEIGHTS.values())}."
    )
