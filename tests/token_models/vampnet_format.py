"""VampNet's checkpoints and what VampNet computes, slowly, from a description of its files and of its arithmetic.

Nothing here comes from the project: arguments, names, shapes and formulas are written out again, cell by cell where it
helps, in double precision.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]

COARSE: dict[str, Any] = {
    "n_heads": 2,
    "n_layers": 3,
    "r_cond_dim": 0,
    "n_codebooks": 4,
    "n_conditioning_codebooks": 0,
    "latent_dim": 8,
    "embedding_dim": 32,
    "vocab_size": 16,
    "flash_attn": False,
    "noise_mode": "mask",
    "dropout": 0.1,
}
"""Arguments of a small coarse model, under the names that they have in the files."""
C2F = COARSE | {"n_layers": 2, "n_heads": 4, "n_codebooks": 14, "n_conditioning_codebooks": 4}
"""The same of a small coarse-to-fine model."""

FIRST_DISTANCES = (12, 16, 23, 32, 46, 64, 91)
"""Distances at which buckets 9 to 15 begin: 8 * 16^(j / 8), rounded up; buckets 0 to 7 have a distance each."""


def random_state(kwargs: dict[str, Any], seed: int = 0) -> State:
    """All tensors but adapters, of sizes that make every part of the model count."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, width: float = 1.0) -> Tensor:
        return width * torch.randn(*shape, generator=generator)

    d, books, dim = kwargs["embedding_dim"], kwargs["n_codebooks"], kwargs["latent_dim"]
    channels = kwargs["vocab_size"] * (books - kwargs["n_conditioning_codebooks"])
    state = {
        "embedding.special.MASK": draw(books, dim),
        "embedding.out_proj.weight": draw(d, books * dim, 1, width=(books * dim) ** -0.5),
        "embedding.out_proj.bias": draw(d, width=0.2),
    }
    for i in range(kwargs["n_layers"]):
        layer = f"transformer.layers.{i}"
        state[f"{layer}.norm_1.weight"] = 1 + draw(d, width=0.2)
        for name in ("w_qs", "w_ks", "w_vs", "fc"):
            state[f"{layer}.self_attn.{name}.weight"] = draw(d, d, width=1.5 * d**-0.5)
        if i == 0:
            state[f"{layer}.self_attn.relative_attention_bias.weight"] = draw(32, kwargs["n_heads"])
        state[f"{layer}.norm_3.weight"] = 1 + draw(d, width=0.2)
        state[f"{layer}.feed_forward.w_1.weight"] = draw(4 * d, d, width=d**-0.5)
        state[f"{layer}.feed_forward.w_2.weight"] = draw(d, 2 * d, width=d**-0.5)
    state["transformer.norm.weight"] = 1 + draw(d, width=0.2)
    state["classifier.layers.0.weight_g"] = 1 + draw(channels, 1, 1).abs()
    state["classifier.layers.0.weight_v"] = draw(channels, d, 1, width=3.0)
    state["classifier.layers.0.bias"] = draw(channels)
    return state


def random_adapters(kwargs: dict[str, Any], seed: int = 1) -> State:
    """The adapters of all layers, about as large as what they are added to."""
    generator = torch.Generator().manual_seed(seed)
    d = kwargs["embedding_dim"]
    sizes = {f"self_attn.{name}": (d, d) for name in ("w_qs", "w_vs", "fc")}
    sizes |= {"feed_forward.w_1": (d, 4 * d), "feed_forward.w_2": (2 * d, d)}
    state = {}
    for i in range(kwargs["n_layers"]):
        for name, (n_in, n_out) in sizes.items():
            state[f"transformer.layers.{i}.{name}.lora_A"] = torch.randn(8, n_in, generator=generator) * d**-0.25
            state[f"transformer.layers.{i}.{name}.lora_B"] = torch.randn(n_out, 8, generator=generator) * d**-0.25
    return state


def write(path: Path, state: State, kwargs: dict[str, Any]) -> Path:
    """A checkpoint as VampNet's trainer writes it."""
    torch.save({"state_dict": state, "metadata": {"kwargs": kwargs, "logs": {}}}, path)
    return path


@torch.no_grad()
def logits(state: State, kwargs: dict[str, Any], tables: list[Tensor], codes: Tensor, mask: Tensor) -> Tensor:
    """What VampNet gives for codes `[B, K, T]`: `[B, V, T * P]`, with frame `t` and codebook `p` at `t * P + p`.

    `tables` are the vectors `[V, 8]` of the codec's codebooks.
    """
    state = {name: value.double() for name, value in state.items()}
    projection, projection_bias = state["embedding.out_proj.weight"][:, :, 0], state["embedding.out_proj.bias"]
    weight = _norm_weight(state["classifier.layers.0.weight_g"], state["classifier.layers.0.weight_v"])
    predicted = kwargs["n_codebooks"] - kwargs["n_conditioning_codebooks"]
    found = []
    for item, hidden in zip(codes, mask, strict=True):
        frames = []
        for t in range(item.shape[1]):
            latents = []
            for k in range(kwargs["n_codebooks"]):
                unknown = bool(hidden[k, t])
                latents.append(state["embedding.special.MASK"][k] if unknown else tables[k][item[k, t]].double())
            frames.append(projection @ torch.cat(latents) + projection_bias)
        x = torch.stack(frames)  # [T, d]
        for i in range(kwargs["n_layers"]):
            layer = f"transformer.layers.{i}"
            x = x + _attention(state, layer, _rms(x, state[f"{layer}.norm_1.weight"]), kwargs["n_heads"])
            x = x + _feed_forward(state, layer, _rms(x, state[f"{layer}.norm_3.weight"]))
        x = _rms(x, state["transformer.norm.weight"])
        channels = x @ weight.T + state["classifier.layers.0.bias"]  # [T, V * P]
        by_place = torch.empty(kwargs["vocab_size"], len(x) * predicted, dtype=torch.float64)
        for code in range(kwargs["vocab_size"]):
            for p in range(predicted):
                by_place[code, p::predicted] = channels[:, code * predicted + p]
        found.append(by_place)
    return torch.stack(found)


def _attention(state: State, layer: str, x: Tensor, n_heads: int) -> Tensor:
    name, size = f"{layer}.self_attn", x.shape[1] // n_heads
    q, k, v = (x @ _weight(state, f"{name}.{part}").T for part in ("w_qs", "w_ks", "w_vs"))
    table = state["transformer.layers.0.self_attn.relative_attention_bias.weight"]
    buckets = torch.tensor([[_bucket(key - query) for key in range(len(x))] for query in range(len(x))])
    heads = []
    for h in range(n_heads):
        own = slice(h * size, (h + 1) * size)
        scores = q[:, own] @ k[:, own].T / math.sqrt(size) + table[buckets, h]
        heads.append(torch.softmax(scores, dim=1) @ v[:, own])
    return torch.cat(heads, dim=1) @ _weight(state, f"{name}.fc").T


def _feed_forward(state: State, layer: str, x: Tensor) -> Tensor:
    first, second = (x @ _weight(state, f"{layer}.feed_forward.w_1").T).chunk(2, dim=1)
    gate = 0.5 * second * (1 + torch.tanh(math.sqrt(2 / math.pi) * (second + 0.044715 * second**3)))
    return (first * gate) @ _weight(state, f"{layer}.feed_forward.w_2").T


def _weight(state: State, name: str) -> Tensor:
    """The weight of a layer, with the adapter beside it if there is one."""
    weight = state[f"{name}.weight"]
    if f"{name}.lora_A" in state:
        weight = weight + state[f"{name}.lora_B"] @ state[f"{name}.lora_A"] / 8
    return weight


def _bucket(offset: int) -> int:
    """T5's bucket of a key that stands `offset` frames after its query."""
    distance = abs(offset)
    near = distance if distance < 8 else 8 + sum(distance >= first for first in FIRST_DISTANCES)
    return near + 16 * (offset > 0)


def _rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean(dim=1, keepdim=True) + 1e-6) * weight


def _norm_weight(lengths: Tensor, directions: Tensor) -> Tensor:
    rows = [g[0, 0] * v[:, 0] / torch.sqrt((v * v).sum()) for g, v in zip(lengths, directions, strict=True)]
    return torch.stack(rows)
