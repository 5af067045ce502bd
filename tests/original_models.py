"""Networks with the names and the arithmetic of the packages that codecs were published with, to write their files.

They are put together from the descriptions in the papers and the names in the published files, and owe nothing to the
models that are tested against them. Audio must be a whole number of frames long.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import weight_norm


class Snake(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(0.5 + torch.rand(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).pow(2)


class Block(nn.Module):
    def __init__(self, *modules: nn.Module):
        super().__init__()
        self.block = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class Unit(Block):
    """DAC's residual unit."""

    def __init__(self, channels: int, dilation: int):
        wide = nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation)
        narrow = nn.Conv1d(channels, channels, 1)
        super().__init__(Snake(channels), weight_norm(wide), Snake(channels), weight_norm(narrow))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class Layer(nn.Module):
    """LAC's residual unit."""

    def __init__(self, channels: int, size: int, dilation: int):
        super().__init__()
        first = nn.Conv1d(channels, channels, size, dilation=dilation, padding=size // 2 * dilation)
        second = nn.Conv1d(channels, channels, size, padding=size // 2)
        self.layer = nn.Sequential(Snake(channels), weight_norm(first), Snake(channels), weight_norm(second))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


class Fusion(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.mrf_blocks = nn.ModuleList(
            Block(*(Layer(channels, size, dilation) for dilation in (1, 3, 5))) for size in (3, 7, 11)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (0 + self.mrf_blocks[0](x) + self.mrf_blocks[1](x) + self.mrf_blocks[2](x)) / 3


class Decoder(nn.Module):
    def __init__(self, latent_dim: int, channels: int, rates: Sequence[int], is_lac: bool):
        super().__init__()
        layers: list[nn.Module] = [weight_norm(nn.Conv1d(latent_dim, channels, 7, padding=3))]
        for rate in rates:
            half = channels // 2
            rise = nn.ConvTranspose1d(channels, half, 2 * rate, rate, padding=(rate + 1) // 2)
            after = [Fusion(half)] if is_lac else [Unit(half, dilation) for dilation in (1, 3, 9)]
            layers.append(Block(Snake(channels), weight_norm(rise), *after))
            channels = half
        layers += [Snake(channels), weight_norm(nn.Conv1d(channels, 1, 7, padding=3)), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.model(z)


class Projected(nn.Module):
    def __init__(self, latent_dim: int, codebook_size: int, codebook_dim: int):
        super().__init__()
        self.in_proj = weight_norm(nn.Conv1d(latent_dim, codebook_dim, 1))
        self.out_proj = weight_norm(nn.Conv1d(codebook_dim, latent_dim, 1))
        self.codebook = nn.Embedding(codebook_size, codebook_dim)


class Quantizer(nn.Module):
    def __init__(self, n_codebooks: int, *sizes: int):
        super().__init__()
        self.quantizers = nn.ModuleList(Projected(*sizes) for _ in range(n_codebooks))

    def encode(self, z: Tensor) -> Tensor:
        codes = []
        for layer in self.quantizers:
            low = layer.in_proj(z)  # [B, d, T]
            cosine = torch.einsum("vd,bdt->bvt", F.normalize(layer.codebook.weight), F.normalize(low, dim=1))
            codes.append(cosine.argmax(dim=1))
            chosen = layer.codebook(codes[-1]).transpose(1, 2)
            z = z - layer.out_proj(low + (chosen - low))
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        z: Tensor | float = 0.0
        for k, layer in enumerate(self.quantizers):
            z = z + layer.out_proj(layer.codebook(codes[:, k]).transpose(1, 2))
        assert isinstance(z, Tensor)
        return z


DAC = {
    "encoder_dim": 4,
    "encoder_rates": [2, 4],
    "latent_dim": 16,
    "decoder_dim": 16,
    "decoder_rates": [4, 2],
    "n_codebooks": 3,
    "codebook_size": 16,
    "codebook_dim": 3,
    "quantizer_dropout": False,
    "sample_rate": 8000,
}
LAC = {key: value for key, value in DAC.items() if key != "latent_dim"} | {
    "encoder_rates": [2, 6],
    "decoder_rates": [3 * 2, 2],
    "sample_rate": 44100,
}
"""Arguments of small models."""


class OriginalDac(nn.Module):
    """A `DAC`, or a `LAC`, of the given arguments."""

    def __init__(self, arguments: dict, *, is_lac: bool = False):
        super().__init__()
        self.arguments = arguments
        channels = arguments["encoder_dim"]
        latent_dim = arguments.get("latent_dim") or channels * 2 ** len(arguments["encoder_rates"])
        layers: list[nn.Module] = [weight_norm(nn.Conv1d(1, channels, 7, padding=3))]
        for rate in arguments["encoder_rates"]:
            fall = nn.Conv1d(channels, 2 * channels, 2 * rate, rate, padding=(rate + 1) // 2)
            units = [Unit(channels, dilation) for dilation in (1, 3, 9)]
            layers.append(Block(*units, Snake(channels), weight_norm(fall)))
            channels *= 2
        self.encoder = Block(*layers, Snake(channels), weight_norm(nn.Conv1d(channels, latent_dim, 3, padding=1)))
        self.quantizer = Quantizer(
            arguments["n_codebooks"], latent_dim, arguments["codebook_size"], arguments["codebook_dim"]
        )
        self.decoder = Decoder(latent_dim, arguments["decoder_dim"], arguments["decoder_rates"], is_lac)

    def save(self, path: Path) -> Path:
        torch.save({"state_dict": self.state_dict(), "metadata": {"kwargs": self.arguments, "logs": {}}}, path)
        return path


class Normed(nn.Module):
    def __init__(self, conv: nn.Module, name: str, grouped: bool):
        super().__init__()
        setattr(self, name, conv if grouped else weight_norm(conv))
        self.norm = nn.GroupNorm(1, conv.out_channels) if grouped else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm((self.conv if hasattr(self, "conv") else self.convtr)(x))


class Conv(nn.Module):
    def __init__(self, grouped: bool, inputs: int, outputs: int, size: int, stride: int = 1):
        super().__init__()
        self.conv = Normed(nn.Conv1d(inputs, outputs, size, stride), "conv", grouped)
        right = 0 if not grouped else (size - stride) // 2  # weight norm goes with causality
        self.padding = (size - stride - right, right)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding, "reflect"))


class ConvTr(nn.Module):
    def __init__(self, grouped: bool, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.convtr = Normed(nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride), "convtr", grouped)
        self.right = stride // 2 if grouped else stride
        self.left = stride - self.right

    def forward(self, x: Tensor) -> Tensor:
        y = self.convtr(x)
        return y[..., self.left : y.shape[-1] - self.right]


class Recurrent(nn.Module):
    def __init__(self, channels: int, layers: int):
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(2, 0, 1)
        return (self.lstm(x)[0] + x).permute(1, 2, 0)


class Residual(Block):
    def __init__(self, grouped: bool, channels: int):
        half = channels // 2
        super().__init__(nn.ELU(), Conv(grouped, channels, half, 3), nn.ELU(), Conv(grouped, half, channels, 1))
        self.shortcut = Conv(grouped, channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)


class Seanet(nn.Module):
    def __init__(self, *modules: nn.Module):
        super().__init__()
        self.model = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Euclidean(nn.Module):
    def __init__(self, size: int, dim: int):
        super().__init__()
        codebook = nn.Module()
        codebook.register_buffer("inited", torch.ones(1))
        codebook.register_buffer("cluster_size", torch.ones(size))
        codebook.register_buffer("embed", torch.randn(size, dim))
        codebook.register_buffer("embed_avg", torch.randn(size, dim))
        self._codebook = codebook


class OriginalEncodec(nn.Module):
    """An EnCodec of strides 4 and 3: mono with weight norm and causal, or `grouped` with group norm and stereo."""

    def __init__(self, *, grouped: bool, n_codebooks: int = 3, latent_dim: int = 8, lstm_layers: int = 2):
        super().__init__()
        channels = 2 if grouped else 1
        self.encoder = Seanet(
            Conv(grouped, channels, 4, 7),
            *(Residual(grouped, 4), nn.ELU(), Conv(grouped, 4, 8, 6, 3)),
            *(Residual(grouped, 8), nn.ELU(), Conv(grouped, 8, 16, 8, 4)),
            *(Recurrent(16, lstm_layers), nn.ELU(), Conv(grouped, 16, latent_dim, 7)),
        )
        self.decoder = Seanet(
            *(Conv(grouped, latent_dim, 16, 7), Recurrent(16, lstm_layers)),
            *(nn.ELU(), ConvTr(grouped, 16, 8, 4), Residual(grouped, 8)),
            *(nn.ELU(), ConvTr(grouped, 8, 4, 3), Residual(grouped, 4)),
            *(nn.ELU(), Conv(grouped, 4, channels, 7)),
        )
        self.quantizer = nn.Module()
        self.quantizer.vq = nn.Module()
        self.quantizer.vq.layers = nn.ModuleList(Euclidean(16, latent_dim) for _ in range(n_codebooks))

    def save(self, path: Path) -> Path:
        torch.save(self.state_dict(), path)
        return path
