"""How fast token models generate: seconds of audio per second, by model size, steps, batch and device.

python scripts/benchmark_sampling.py
python scripts/benchmark_sampling.py --size vampnet --steps 1 --steps 12 --batch 1 --device cuda
python scripts/benchmark_sampling.py --codec encodec_24khz --seconds 10

Models have random weights, which take as long as trained ones. Coarse and fine model fill a whole grid, each in its
windows; decoding is not counted. The last lines put the sampler beside a plain one, which computes the logits of all
cells in every step and walks through the items one by one: the same codes from the same seeds, or exit status 1.
"""

import sys
import time
from dataclasses import dataclass
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from codec_ft.codecs.load import load_codec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError, told_to_the_user
from token_models.config import TokenModelConfig
from token_models.generate import Stage, generate
from token_models.masks.schedule import masked_counts
from token_models.model import TokenModel
from token_models.sampling.config import SamplingConfig
from token_models.sampling.maskgit import maskgit
from token_models.sampling.noise import gumbel, item_generators

SIZES: dict[str, dict[str, tuple[int, int, int]]] = {
    "demo": {"coarse": (144, 4, 4), "fine": (144, 4, 4)},
    "small": {"coarse": (512, 8, 8), "fine": (512, 8, 8)},
    "vampnet": {"coarse": (1280, 20, 20), "fine": (1280, 16, 20)},
}
"""Width, layers and heads of the two models."""
COARSE = 4
"""Codebooks of the coarse model."""
WINDOW_SECONDS = {"coarse": 10.0, "fine": 3.0}
console = Console()


@dataclass(frozen=True)
class Row:
    """A measurement: what was generated, and how long it took."""

    steps: int
    batch: int
    audio_seconds: float
    seconds: float


def make_stages(codec: ResidualCodec, size: str, steps: int, device: str) -> dict[str, Stage]:
    """Coarse and fine model with random weights."""
    torch.manual_seed(0)
    coarse = min(COARSE, codec.n_codebooks - 1)
    grids = {"coarse": {"codebooks": coarse}, "fine": {"known": coarse}}
    stages = {}
    for place, (name, (dim, layers, heads)) in enumerate(SIZES[size].items()):
        config = TokenModelConfig.model_validate({"dim": dim, "layers": layers, "heads": heads, **grids[name]})
        model = TokenModel(codec, config).eval().requires_grad_(False).to(device)
        window = codec.n_frames(round(WINDOW_SECONDS[name] * codec.sample_rate))
        stages[name] = Stage(place, model, SamplingConfig(steps=steps), window, window // 4)
    return stages


def measure(stages: dict[str, Stage], n_frames: int, batch: int, codec: ResidualCodec, device: str) -> float:
    """Seconds that the grids of a batch take."""
    _wait_for(device)
    began = time.perf_counter()
    generate(stages, (batch, n_frames), None, list(range(batch)), hop_length=codec.hop_length)
    _wait_for(device)
    return time.perf_counter() - began


@torch.no_grad()
def plain_maskgit(model: TokenModel, codes: Tensor, steps: int, seeds: list[int], mask_temperature: float) -> Tensor:
    """Confidence re-masking written down plainly, item by item, with the logits of all cells in every step.

    All cells of `codes [B, K, T]` are to be filled.
    """
    filled = []
    for item, seed in zip(codes, seeds, strict=True):
        (generator,) = item_generators([seed], codes.device)
        grid, masked = item.clone(), torch.ones_like(item, dtype=torch.bool)
        total = masked.sum()
        for step in range(steps):
            every = torch.ones_like(masked)[None]
            logits = model.logits(model.features(grid[None], masked[None]), every, grid[None]).unflatten(0, grid.shape)
            cells = masked.nonzero().tolist()
            scores = torch.stack([logits[k, t] for k, t in cells]).log_softmax(dim=-1)
            drawn = (scores + gumbel([len(cells)], [generator], scores.shape[1])).argmax(dim=-1)
            sureness = scores.gather(1, drawn[:, None])[:, 0]
            progress = (step + 1) / steps
            if weight := mask_temperature * (1 - progress):
                sureness = sureness + weight * gumbel([len(cells)], [generator])
            stays = int(masked_counts("cosine", total[None], step, steps))
            for row in sureness.argsort(stable=True).tolist()[stays:]:
                k, t = cells[row]
                grid[k, t], masked[k, t] = drawn[row], False
        filled.append(grid)
    return torch.stack(filled)


def compare(stage: Stage, n_frames: int, batch: int, device: str) -> tuple[float, float, int]:
    """Seconds of our sampler and of the plain one, and in how many cells they differ.

    In double precision: in single precision batches of different sizes round differently on a GPU, and one code that is
    drawn otherwise changes all that come after it.
    """
    steps, model = stage.sampling.steps, stage.model.double()
    assert isinstance(steps, int)
    codes = torch.zeros(batch, model.n_codebooks, n_frames, dtype=torch.long, device=device)
    seeds = list(range(batch))
    began = time.perf_counter()
    ours = maskgit(
        model,
        codes,
        torch.ones_like(codes, dtype=torch.bool),
        steps=steps,
        generators=item_generators(seeds, device),
        mask_temperature=stage.sampling.mask_temperature,
    )
    _wait_for(device)
    between = time.perf_counter()
    plain = plain_maskgit(model, codes, steps, seeds, stage.sampling.mask_temperature)
    _wait_for(device)
    return between - began, time.perf_counter() - between, int((ours != plain).sum())


def _wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main(
    codec: Annotated[str, typer.Option(help="Whose grids are filled.")] = "demo",
    size: Annotated[list[str], typer.Option(help=f"Of the models: {', '.join(SIZES)}.")] = ["demo"],  # noqa: B006
    steps: Annotated[list[int], typer.Option(min=1, help="How often each model is asked.")] = [1, 4, 12, 36],  # noqa: B006
    batch: Annotated[list[int], typer.Option(min=1, help="Items at once.")] = [1, 4],  # noqa: B006
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of an item.")] = 10.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Measure, and print a table."""
    with told_to_the_user():
        loaded = load_codec(codec)
        if not isinstance(loaded, ResidualCodec) or loaded.n_codebooks < 2:
            raise UserError(f"--codec {codec}: token models are for residual codecs of two codebooks or more.")
        if unknown := [name for name in size if name not in SIZES]:
            raise UserError(f"--size {unknown[0]}: no such size; there are {', '.join(SIZES)}.")
        n_frames = loaded.n_frames(round(seconds * loaded.sample_rate))
        differing = 0
        for each in size:
            rows: list[Row] = []
            for count, items in tqdm([(count, items) for count in steps for items in batch], desc=each, leave=False):
                stages = make_stages(loaded, each, count, device)
                if not rows:  # the first call of all warms up
                    measure(stages, min(n_frames, 50), 1, loaded, device)
                took = measure(stages, n_frames, items, loaded, device)
                rows.append(Row(count, items, items * seconds, took))
            parameters = {name: sum(p.numel() for p in stage.model.parameters()) for name, stage in stages.items()}
            words = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in parameters.items())
            title = f"{each}: {words} parameters; {codec}, {seconds:g} s; {device}, {torch.get_num_threads()} threads"
            table = Table("steps", "batch", "seconds", "audio s per s", title=title, box=box.SIMPLE)
            for row in rows:
                speed = f"{row.audio_seconds / row.seconds:.2f}"
                table.add_row(str(row.steps), str(row.batch), f"{row.seconds:.2f}", speed)
            console.print(table)
            stage = make_stages(loaded, each, min(12, max(steps)), device)["coarse"]
            short = min(n_frames, 200)
            ours, plain, unlike = compare(stage, short, 2, device)
            differing += unlike
            console.print(
                f"{stage.sampling.steps} steps, 2 items of {short} frames: ours {ours:.2f} s, a plain sampler "
                f"{plain:.2f} s ({plain / ours:.1f} times as long), {unlike} codes differ"
            )
    if differing:
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
