"""VGGish (Hershey et al., 2017), the embedding that the Frechet audio distance was first defined with.

Its weights are not shipped. `VggishEmbedding` reads the well-known file of the PyTorch port, `vggish-10086976.pth`.
VGGish heard 16 kHz audio of videos and tells kinds of sound apart; for the quality of music, embeddings that were made
for music or for coding it agree better with listeners (Gui et al., 2024). It is here for comparison with older work.
"""

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from codec_ft.codecs.cache import sha256_of
from codec_ft.embeddings.base import Embedding, check_mono
from codec_ft.errors import UserError

SAMPLE_RATE = 16000
WINDOW, HOP, N_FFT = 400, 160, 512
"""25 ms every 10 ms; the spectrum has the next power of two as its length."""

N_MELS, LOWEST_HZ, HIGHEST_HZ = 64, 125.0, 7500.0
LOG_OFFSET = 0.01
EXAMPLE_FRAMES = 96
"""Frames that make one vector: 0.96 s, after which the next begins."""

DIMENSION = 128
BATCH = 32
"""Examples that are computed at once: half a minute."""


class VggishNetwork(nn.Module):
    """The network of VGGish, with the names of the PyTorch port: examples `[n, 96, 64]` to vectors `[n, 128]`.

    Vectors are those before the last ReLU, and before the PCA and quantisation with which AudioSet's were published.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels, pool in [
            (1, 64, True), (64, 128, True), (128, 256, False), (256, 256, True), (256, 512, False), (512, 512, True),
        ]:  # fmt: skip
            layers += [nn.Conv2d(channels_in, channels, kernel_size=3, padding=1), nn.ReLU()]
            if pool:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, DIMENSION)
        )

    def forward(self, examples: Tensor) -> Tensor:
        """Log-mel examples `[n, 96, 64]` to vectors `[n, 128]`."""
        features = self.features(examples[:, None])  # [n, 512, 6, 4]
        # The weights come from TensorFlow, where channels are last.
        return self.embeddings(features.permute(0, 2, 3, 1).flatten(1))


class VggishEmbedding(Embedding):
    """Vectors of VGGish, one per 0.96 s; what is left over at the end of the audio is dropped.

    Args:
        path: `vggish-10086976.pth`.
        device: where to compute.

    Raises:
        UserError: the file is missing or broken, or does not hold the tensors of VGGish.
    """

    name = "VGGish"
    sample_rate = SAMPLE_RATE
    dimension = DIMENSION
    seconds_per_vector = EXAMPLE_FRAMES * HOP / SAMPLE_RATE

    def __init__(self, path: Path, device: torch.device | str = "cpu"):
        self.network = read_vggish(path).to(device)
        self.device = device

    @torch.no_grad()
    def __call__(self, audio: Tensor) -> Tensor:
        """See `Embedding`: none for less than 0.975 s, which the first window of the last frame reaches to."""
        mono = check_mono(audio)
        samples = BATCH * EXAMPLE_FRAMES * HOP
        vectors = [torch.empty(0, DIMENSION)]
        for first in range(0, mono.shape[1], samples):
            # The last window of a part reaches into the next one.
            part = log_mel_examples(mono[0, first : first + samples + WINDOW - HOP])
            if len(part):
                vectors.append(self.network(part.to(self.device)).cpu())
        return torch.cat(vectors)


def log_mel_examples(audio: Tensor) -> Tensor:
    """What VGGish sees of audio `[N]` at 16 kHz: logarithmic mel spectra `[n, 96, 64]`.

    Windows lie within the audio; frames that do not fill an example are dropped.
    """
    n_frames = ((len(audio) - WINDOW) // HOP + 1) // EXAMPLE_FRAMES * EXAMPLE_FRAMES
    if n_frames <= 0:
        return torch.empty(0, EXAMPLE_FRAMES, N_MELS)
    frames = audio.double().unfold(0, WINDOW, HOP)[:n_frames]
    magnitudes = torch.fft.rfft(frames * torch.hann_window(WINDOW, dtype=torch.float64), n=N_FFT).abs()
    spectra = (magnitudes @ torch.from_numpy(mel_weights()) + LOG_OFFSET).log()
    return spectra.float().unflatten(0, (-1, EXAMPLE_FRAMES))


def mel_weights() -> np.ndarray:
    """Weights `[257, 64]` of the bins of a spectrum in the mel bands: triangles of height one on the mel axis.

    The more usual triangles on the axis of frequencies are others; the scale is HTK's.
    """

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    edges = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), N_MELS + 2)
    bins = mel(np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.minimum(rising, falling).clip(min=0.0)


def read_vggish(path: Path) -> VggishNetwork:
    """Read the state dict of the PyTorch port, frozen; nothing in the file is run.

    Raises:
        UserError: the file is missing or broken, its hash is not the one in its name, or it holds other tensors.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file. Put vggish-10086976.pth there, from release v0.1 of harritaylor/torchvggish "
            "(288 MB), or choose another embedding."
        )
    # The name of a file made for torch.hub ends with the first digits of its SHA-256.
    claimed = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    if claimed and not (found := sha256_of(path)).startswith(claimed[1]):
        raise UserError(
            f"{path}: has SHA-256 {found}, which does not begin with {claimed[1]} as its name says: it is damaged, or "
            "another file. Fetch it again."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every kind of file that is no checkpoint fails in its own way
        raise UserError(f"{path}: is broken, or no file of weights alone. Fetch vggish-10086976.pth again.") from error
    with torch.device("meta"):
        network = VggishNetwork()
    expected = {name: list(value.shape) for name, value in network.state_dict().items()}
    held = state if isinstance(state, dict) else {}
    wrong = [name for name, shape in expected.items() if list(getattr(held.get(name), "shape", [])) != shape]
    if wrong or held.keys() != expected.keys():
        problem = f"{wrong[0]} of shape {expected[wrong[0]]} is not in it" if wrong else "it holds other tensors too"
        raise UserError(f"{path}: is not the state dict of VGGish: {problem}. Fetch vggish-10086976.pth.")
    network.load_state_dict({name: value.float() for name, value in held.items()}, assign=True)
    return network.requires_grad_(False).eval()
