"""VampNet's published models: where their files are, and what they may be used for."""

import logging
import math
from pathlib import Path

from codec_ft.codecs.cache import fetch, trust
from codec_ft.codecs.lac import LacConfig
from codec_ft.codecs.releases import MIT, Release
from codec_ft.errors import UserError
from token_models.vampnet.sizes import VampnetSizes, adapter_shapes, tensor_shapes

logger = logging.getLogger(__name__)

LICENCE = "CC BY-NC-SA 4.0"
"""Of all weights of VampNet, and of whatever is made of them."""

PUBLISHED = {
    "coarse": VampnetSizes(n_layers=20, n_codebooks=4, n_conditioning_codebooks=0),
    "c2f": VampnetSizes(n_layers=16, n_codebooks=14, n_conditioning_codebooks=4),
}
"""The published models by name."""


def release_of(kind: str) -> Release:
    """The file of a published model, kept where the codecs' are."""
    sizes = PUBLISHED[kind]
    shapes = tensor_shapes(sizes) | adapter_shapes(sizes)
    return Release(
        name=f"VampNet {kind}",
        file=f"vampnet_{kind}.pth",
        # Zenodo record 8136629 has it too, inside an archive.
        url=f"https://huggingface.co/hugggof/vampnet/resolve/main/{kind}.pth",
        sha256=None,
        licence_code=MIT,
        licence_weights=LICENCE,
        config=LacConfig(),  # of the codec whose codes it models
        n_bytes=4 * sum(math.prod(shape) for shape in shapes.values()),  # about: float32
    )


def fetch_published(kind: str) -> Path:
    """The file of a published model, downloaded to the cache if it is not on this machine yet.

    Raises:
        UserError: it is neither there nor can it be fetched, or it is another one than was used before.
    """
    release = release_of(kind)
    logger.warning(
        "%s: no hash was published to check it by; it is only made sure that it stays the one that was used first",
        release.file,
    )
    return fetch(release)


def trust_published(kind: str, sizes: VampnetSizes, path: Path) -> None:
    """Make sure that a file holds the model that its name says, and remember its hash.

    Raises:
        UserError: it holds another one.
    """
    if str(sizes) != str(PUBLISHED[kind]):
        raise UserError(
            f"{path}: is not VampNet's {kind} ({PUBLISHED[kind]}) but another model ({sizes}). Delete it, and the "
            "right one is fetched; load it by its path, if it is the one you want."
        )
    trust(release_of(kind), path)
