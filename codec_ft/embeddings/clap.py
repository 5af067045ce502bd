"""CLAP (Wu et al., 2023): audio in the space that it shares with texts, on transformers' implementation."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import ClapAudioModelWithProjection, ClapFeatureExtractor
from transformers.utils import logging as transformers_logging

from codec_ft.embeddings.base import Embedding, check_mono
from codec_ft.errors import UserError

HOP_SECONDS = 1.0
"""From window to window, as in the toolkit of Gui et al. (2024); a window is as long as the model was trained on."""

BATCH = 8
"""Windows that are computed at once."""


class ClapEmbedding(Embedding):
    """Vectors of unit length of windows of 10 s, one for every second of audio from which on there are 10 s.

    Audio that is shorter gives one vector, and is repeated to fill the window as the model's own settings say.

    Args:
        name: folder in transformers' format, or `owner/name` of a model on the Hugging Face hub, as
            `laion/larger_clap_music` or `laion/clap-htsat-unfused`.
        device: where to compute.

    Raises:
        UserError: files are missing or broken, cannot be fetched, or are not those of a CLAP.
    """

    def __init__(self, name: str, device: torch.device | str = "cpu"):
        self.name = f"CLAP {Path(name).name}"
        self.model, self.features = _read_clap(name)
        self.model.to(device)
        self.device = device
        self.sample_rate = self.features.sampling_rate
        self.dimension = self.model.config.projection_dim
        self.seconds_per_vector = HOP_SECONDS

    @torch.no_grad()
    def __call__(self, audio: Tensor) -> Tensor:
        """See `Embedding`."""
        mono = check_mono(audio)[0]
        length, hop = self.features.nb_max_samples, round(HOP_SECONDS * self.sample_rate)
        windows = mono[None] if len(mono) < length else mono.unfold(0, length, hop)
        return torch.cat([self._embed(part) for part in windows.split(BATCH)])

    def _embed(self, windows: Tensor) -> Tensor:
        features = self.features(list(windows.numpy()), sampling_rate=self.sample_rate, return_tensors="pt")
        # Where no window is longer than the model's, the extractor calls one of them longer, at random; none is.
        longer = torch.zeros(len(windows), 1, dtype=torch.bool, device=self.device)
        found = self.model(input_features=features["input_features"].to(self.device).float(), is_longer=longer)
        return functional.normalize(found.audio_embeds, dim=1).cpu()


def _read_clap(name: str) -> tuple[Any, ClapFeatureExtractor]:
    """The half of a CLAP that hears, frozen, and what prepares its input; weights are read from safetensors only."""
    folder = Path(name).expanduser()
    source = str(folder) if folder.is_dir() else name
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # the half that reads texts is in the file and not wanted
    try:
        extractor = ClapFeatureExtractor.from_pretrained(source)
        loaded: Any = ClapAudioModelWithProjection.from_pretrained(
            source, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # missing, broken and unreachable files are errors of many libraries
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name}: cannot be read as a CLAP ({reason}). Give a folder with its config.json, "
            "preprocessor_config.json and model.safetensors, as `hf download laion/larger_clap_music --local-dir "
            "FOLDER` makes it."
        ) from error
    model, report = loaded
    if report["missing_keys"]:
        raise UserError(
            f"{name}: is no CLAP: {sorted(report['missing_keys'])[0]} is not among its weights. Give the folder of one."
        )
    return model.float().requires_grad_(False).eval(), extractor
