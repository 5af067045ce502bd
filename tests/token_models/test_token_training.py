"""Training token models: losses, masks, what is validated, and a whole run."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from small_enhancer import write_enhancer
from torch import Tensor
from torch.nn import functional as F

from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.data.dataset import Batch, collate
from codec_ft.errors import UserError
from codec_ft.finetune.load import load_enhancer
from codec_ft.finetune.losses.soft_labels import layer_labels
from codec_ft.metrics.tokens import active_frames
from experiments.run import run_experiment
from token_models.masks.sobol import GOLDEN, item_numbers
from token_models.training.config import TokenTrainingConfig
from token_models.training.loss import label_tables, masked_cross_entropy, soft_cross_entropy
from token_models.training.task import VALIDATION_RATIOS, TokenModels, TokenTask, masked_metrics
from token_models.windows import window_starts

SMALL = {"dim": 16, "heads": 2, "layers": 1, "dropout": 0.0}
HEARS = {**SMALL, "condition": {"latents": True, "drop": 0.0}}
MakeTask = Callable[..., TokenTask]


@pytest.fixture
def make_config(tiny_set: Path, tiny_codec_folder: Path, tmp_path: Path) -> Callable[..., TokenTrainingConfig]:
    def make(**changes: Any) -> TokenTrainingConfig:
        settings: dict[str, Any] = {
            "id": "tokens",
            "run": tmp_path / "run",
            "codec": str(tiny_codec_folder),
            "input": "separated/rough",
            "coarse": {**HEARS, "codebooks": 2},
            "fine": {**HEARS, "known": 2},
            "fine_seconds": 0.25,
            "data": {
                "root": tiny_set,
                "seconds": 0.5,
                "valid_seconds": 0.5,
                "report_split": "test",
                "report_seconds": 1.0,
            },
            "train": {"steps": 4, "batch_size": 2, "validate_every": 2, "tensorboard": False},
            "sampling": {"steps": 2},
            "fine_sampling": {"steps": 2},
        }
        return TokenTrainingConfig.model_validate(settings | changes)

    return make


@pytest.fixture
def make_task(make_config: Callable[..., TokenTrainingConfig], tiny_codec: EncodecCodec) -> MakeTask:
    def make(**changes: Any) -> TokenTask:
        torch.manual_seed(0)
        return TokenTask(make_config(**changes), tiny_codec)

    return make


def batch_of(task: TokenTask, items: int = 2) -> Batch:
    data = task.train_data(8)
    return collate([data[i] for i in range(items)])


def models(task: TokenTask) -> TokenModels:
    module = task.phases["models"]
    assert isinstance(module, TokenModels)
    return module


# Losses


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0]])
    found = masked_cross_entropy(logits, torch.tensor([1, 0]))
    torch.testing.assert_close(found, torch.tensor([-math.log(0.75), math.log(2.0)]))
    smoothed = masked_cross_entropy(logits, torch.tensor([1, 0]), smoothing=0.2)
    by_hand = -(0.9 * math.log(0.75) + 0.1 * math.log(0.25))
    assert smoothed[0].item() == pytest.approx(by_hand, rel=1e-6)


def test_soft_labels_by_hand_and_at_their_limits(tiny_codec: EncodecCodec) -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    found = soft_cross_entropy(logits, torch.tensor([[0.5, 0.5]]))
    assert found.item() == pytest.approx(-0.5 * (math.log(0.25) + math.log(0.75)), rel=1e-6)
    tables = label_tables(tiny_codec, 2, 0.5)
    assert tables.shape == (2, 16, 16)
    torch.testing.assert_close(tables.sum(dim=-1), torch.ones(2, 16))
    codes = torch.tensor([[3, 7]])
    torch.testing.assert_close(tables[1, codes[0]], layer_labels(tiny_codec, 1, codes, 0.5)[0].t())
    cells, targets = torch.randn(5, 16), torch.tensor([0, 1, 2, 3, 4])
    hard = soft_cross_entropy(cells, label_tables(tiny_codec, 1, 0.0)[0, targets])
    torch.testing.assert_close(hard, F.cross_entropy(cells, targets, reduction="none"))


# A step


def test_the_loss_is_the_mean_over_the_masked_cells(make_task: MakeTask) -> None:
    task = make_task(label_smoothing=0.0)
    step = dict(models(task).steps())["coarse"]
    seen: list[tuple[Tensor, Tensor]] = []
    answer = step.model.answer

    def spied(codes: Tensor, mask: Tensor, heard: Any = None) -> tuple[Tensor, Tensor | None]:
        seen.append((codes, mask))
        return answer(codes, mask, heard)

    step.model.answer = spied  # type: ignore[method-assign]
    batch = batch_of(task)
    losses = step(models(task).given(batch))
    ((codes, mask),) = seen
    heard = task.listener.hear(batch.input, batch.context)
    by_hand = F.cross_entropy(step.model(codes, mask, heard), codes[mask])
    torch.testing.assert_close(losses["loss"], by_hand)
    assert torch.equal(codes, task.codec.quantize(task.codec.encode(batch.target))[0][:, :2])
    assert set(losses) == {"loss", "accuracy", "accuracy_1"}


def test_how_much_is_masked_is_spread_evenly_and_known_by_the_item(make_task: MakeTask) -> None:
    task = make_task()
    step = dict(models(task).steps())["fine"]
    shares = []
    answer = step.model.answer

    def spied(codes: Tensor, mask: Tensor, heard: Any = None) -> tuple[Tensor, Tensor | None]:
        assert not mask[:, :2].any(), "the coarse codebooks are always known"
        shares.extend(mask[:, 2:].float().mean(dim=(1, 2)).tolist())
        return answer(codes, mask, heard)

    step.model.answer = spied  # type: ignore[method-assign]
    data = task.train_data(64)
    for first in range(0, 64, 16):
        step(models(task).given(collate([data[i] for i in range(first, first + 16)])))
    assert len(shares) == 64
    progress = sorted(2 / math.pi * math.acos(min(1.0, share)) for share in shares)
    # One in each sixty-fourth part of 0..1, up to the rounding to whole cells.
    assert all(abs(value - (i + 0.5) / 64) < 0.06 for i, value in enumerate(progress))
    again = shares[:16]
    shares.clear()
    step(models(task).given(collate([data[i] for i in range(16)])))
    assert shares == again


@pytest.mark.parametrize("kind", ["random", "bernoulli", "spans"])
@pytest.mark.parametrize("labels", [{"label_smoothing": 0.1}, {"label_smoothing": 0.0, "soft_labels": 0.5}])
def test_it_learns_one_batch_by_heart(make_task: MakeTask, kind: str, labels: dict[str, float]) -> None:
    """With everything masked, what it hears tells it most codes; the commonest is a third of them."""
    task = make_task(mask={"kind": kind}, **labels)
    module, batch = models(task), batch_of(task)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    first = module(batch)["loss"].item()
    for _ in range(40):
        losses = module(batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["loss"].item() < 0.5 * first
    module.eval()
    given = module.given(batch)
    for _, step in module.steps():
        everywhere = torch.ones(2, given.codes.shape[-1], dtype=torch.bool)
        assert float(masked_metrics(step, given, everywhere)["accuracy_at_100"].mean()) > 0.7
    assert set(losses) == {"loss"} | {
        f"{name}_{key}" for name, k in (("coarse", 1), ("fine", 3)) for key in ("loss", "accuracy", f"accuracy_{k}")
    }


def test_the_cache_gives_the_same_losses(make_task: MakeTask, tiny_codec: EncodecCodec) -> None:
    task = make_task()
    module, plain = models(task), batch_of(task)
    latents = tiny_codec.encode(plain.target)
    cached = Batch(
        torch.empty(2, 1, 0),
        torch.empty(2, 1, 0),
        plain.names,
        indices=plain.indices,
        target_codes=tiny_codec.quantize(latents)[0],
        input_latents=tiny_codec.encode(plain.input),
    )
    torch.manual_seed(5)
    losses = module(plain)
    torch.manual_seed(5)
    again = module(cached)
    for name, value in losses.items():
        assert again[name].item() == pytest.approx(value.item(), rel=1e-5), name
    assert (
        not task.reads_audio
        and make_task(coarse={**SMALL, "codebooks": 2, "condition": {"spectrogram": True}}).reads_audio
    )


def test_several_stems_are_learnt_in_turn(make_task: MakeTask) -> None:
    task = make_task(input="target", learn=["bass", "drums"], coarse={**SMALL, "codebooks": 2}, fine=None)
    data = task.train_data(8)
    assert len(data) == 8  # type: ignore[arg-type]
    numbers = [data[i]["index"] for i in range(8)]
    shares = item_numbers(0, numbers)
    for i in (0, 1):  # those of each stem are spread evenly by themselves, turned round by another part
        assert sorted((4 * ((shares[i::2] - i * GOLDEN) % 1)).long().tolist()) == [0, 1, 2, 3]
    gaps = (shares[0::2] - shares[1::2]).abs()
    assert (gaps > 0.3).all() and (gaps < 0.7).all(), "a place of two stems has two shares"
    for i, stem in enumerate(("bass", "drums")):
        expected = task.pairs(4, stem)[0]["target"]
        assert torch.equal(data[i]["target"], expected)


# Validation


def test_a_model_that_knows_everything_scores_one(make_task: MakeTask) -> None:
    task = make_task()
    step = dict(models(task).steps())["coarse"]
    data = task.valid_data()
    batch = collate([data[i] for i in range(2)])
    codes = task.codec.quantize(task.codec.encode(batch.target))[0][:, :2]

    def knows(grid: Tensor, mask: Tensor, heard: Any = None) -> Tensor:
        return 50.0 * F.one_hot(codes[mask], 16).float()

    step.model.forward = knows  # type: ignore[method-assign]
    found = masked_metrics(step, models(task).given(batch), active_frames(batch.target, 20))
    assert set(found) == {
        "cross_entropy",
        "accuracy_1",
        "accuracy_2",
        *(f"accuracy_at_{round(100 * r)}" for r in VALIDATION_RATIOS),
    }
    for name, value in found.items():
        expected = 0.0 if name == "cross_entropy" else 1.0
        torch.testing.assert_close(value, torch.full((2,), expected), atol=1e-5, rtol=0)


def test_a_run_makes_samples_of_both_models(make_config: Callable[..., TokenTrainingConfig]) -> None:
    config = make_config()
    folder = run_experiment(config)
    assert folder.finished
    exported = folder.path / "tokens"
    assert {path.name for path in exported.iterdir()} == {"coarse.safetensors", "fine.safetensors", "config.json"}
    samples = sorted(folder.samples.glob("*"))
    assert samples and all(
        {
            "coarse.wav",
            "c2f.wav",
            "input.wav",
            "output.wav",
            "quantized_input.wav",
            "quantized_target.wav",
            "target.wav",
        }
        <= {path.name for path in sample.iterdir()}
        for sample in samples
    )
    results = json.loads(folder.results.read_text())
    assert {row["system"] for row in results["rows"]} >= {"coarse", "c2f", "output", "separated/rough (floor)"}
    assert len(results["tokens"]["trained"]) == 3
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    valid = [line for line in lines if line["split"] == "valid"]
    assert len(valid) == 2 and {"coarse_accuracy_1", "fine_cross_entropy", "copy_input_accuracy_1"} <= set(valid[0])


def test_given_codes_are_those_of_the_input_or_of_an_enhancer(
    make_config: Callable[..., TokenTrainingConfig], tiny_codec: EncodecCodec, tiny_codec_folder: Path, tmp_path: Path
) -> None:
    write_enhancer(tmp_path / "helper", tiny_codec_folder, input="separated/rough")
    enhancer = load_enhancer(tmp_path / "helper")
    torch.manual_seed(0)
    audio = 0.3 * torch.randn(1, 1, 800)
    unheard = {"coarse": {**SMALL, "codebooks": 2}, "fine": {**SMALL, "known": 2}}
    of_input = tiny_codec.quantize(tiny_codec.encode(audio))[0]
    for options, kept in (({}, of_input), ({"enhancer": str(tmp_path / "helper")}, enhancer.codes(audio))):
        task = TokenTask(make_config(given=[2, 1], **unheard, **options), tiny_codec)
        separation = task.separate(models(task).eval(), audio)
        assert torch.equal(separation.codes[:, :2], kept[:, :2]) and separation.codes.shape == (1, 3, 40)
        assert set(separation.steps) == {"coarse", "c2f", "given_1"}
        torch.testing.assert_close(separation.output, separation.steps["c2f"].audio)
    with pytest.raises(UserError, match=r"given=4: enhancer=.*helper writes 3 codebooks\. Give as many or fewer"):
        TokenTask(make_config(given=[4], enhancer=str(tmp_path / "helper"), **unheard), tiny_codec)
    with pytest.raises(UserError, match=r"given=3: the models have 3 codebooks, and nothing would be left to write"):
        TokenTask(make_config(given=[3], **unheard), tiny_codec)


def test_a_draft_is_needed_of_the_doubting_model_alone(
    make_config, tiny_codec: EncodecCodec, tiny_codec_folder: Path, tmp_path: Path
) -> None:
    write_enhancer(tmp_path / "helper", tiny_codec_folder, input="separated/rough", target_codebooks=2)
    from_draft = {"enhancer": str(tmp_path / "helper"), "sampling": {"steps": 2, "doubt": 0.5}}
    task = TokenTask(make_config(**from_draft), tiny_codec)
    batch = batch_of(task)
    written = task.separate(task.phases["models"].eval(), batch.input, batch.context)
    assert written.codes is not None and written.codes.shape[1] == 3
    with pytest.raises(UserError, match=r"sampling\.doubt: enhancer=.*helper writes 2 of 3 codebooks only\. Set it"):
        TokenTask(make_config(fine_sampling={"steps": 2, "doubt": 0.5}, **from_draft), tiny_codec)


def test_a_draft_is_sampled_anew_where_it_is_doubted(make_config, tiny_codec: EncodecCodec) -> None:
    unheard = {"coarse": {**SMALL, "codebooks": 2}, "fine": {**SMALL, "known": 2}}
    sampling = {"steps": 2, "doubt": 0.25}
    task = TokenTask(make_config(sampling=sampling, fine_sampling=sampling, **unheard), tiny_codec)
    audio = 0.3 * torch.randn(1, 1, 800, generator=torch.Generator().manual_seed(0))
    of_input = tiny_codec.quantize(tiny_codec.encode(audio))[0]
    separation = task.separate(models(task).eval(), audio)
    changed = separation.codes != of_input
    assert 0 < int(changed[:, :2].sum()) <= 20 and 0 < int(changed[:, 2:].sum()) <= 10, "of 80 and 40 cells"


def test_what_cannot_be_generated_is_refused_before_it_is_learnt(make_task: MakeTask) -> None:
    deaf = {"coarse": {**SMALL, "codebooks": 2}, "fine": None}
    never = {"coarse": {**HEARS, "codebooks": 2}, "fine": None}
    for models_, who in ((deaf, "coarse"), (never, "coarse")):
        with pytest.raises(UserError, match=rf"sampling\.guidance: the {who} model has never gone without its input"):
            make_task(**models_, sampling={"guidance": {"scale": 2.0}})
    with pytest.raises(UserError, match=r"fine_sampling\.steps: has 2 numbers, but the fine model 3 codebooks"):
        make_task(fine_sampling={"method": "levels", "steps": [2, 1]})
    with pytest.raises(UserError, match=r"mask\.span=500: the coarse model sees 200 frames\. Take fewer\."):
        make_task(mask={"kind": "spans", "span": 500})


def test_validation_looks_at_all_of_an_excerpt_window_by_window(make_task: MakeTask) -> None:
    """The first second of an excerpt may be silent; what sounds later counts."""
    task = make_task()
    step = dict(models(task).steps())["fine"]
    batch = collate([task.valid_data()[0]])
    half = batch.target.shape[-1] // 2
    batch.target[..., :half] = 0
    batch.input[..., :half] = 0
    found = masked_metrics(step.eval(), models(task).given(batch), active_frames(batch.target, 20))
    assert all(torch.isfinite(value).all() for value in found.values())
    later = collate([task.valid_data()[0]])
    for name in ("target", "input"):
        setattr(later, name, getattr(later, name)[..., half:])
    assert step.window < batch.target.shape[-1] // task.codec.hop_length
    alone = masked_metrics(step, models(task).given(later), active_frames(later.target, 20))
    # Of the codec's latents those next to the cut differ: what was silence is not there.
    assert found["cross_entropy"].item() == pytest.approx(alone["cross_entropy"].item(), rel=0.2)


@pytest.mark.parametrize("name", ["coarse", "fine"])
def test_an_excerpt_is_validated_alike_in_any_batch(make_task: MakeTask, name: str) -> None:
    task = make_task(fine_seconds=0.2)  # windows of 0.5 s that reach back: each frame counts once
    step = dict(models(task).steps())[name].eval()
    data = task.valid_data()
    both, alone = collate([data[0], data[1]]), collate([data[1]])
    found, wanted = (
        masked_metrics(step, models(task).given(batch), active_frames(batch.target, 20)) for batch in (both, alone)
    )
    for key, value in wanted.items():
        torch.testing.assert_close(found[key][1:], value, msg=key)


def test_each_frame_of_an_excerpt_counts_once(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is right in the second half alone is right in half of all cells."""
    task = make_task(fine_seconds=0.2, fine={**SMALL, "known": 2}, coarse={**SMALL, "codebooks": 2})
    step = dict(models(task).steps())["fine"]
    given = models(task).given(collate([task.valid_data()[0]]))
    codes = given.codes[:, :3]
    n_frames = codes.shape[-1]
    assert n_frames % step.window
    right = (torch.arange(n_frames) >= n_frames // 2).expand_as(codes)
    said = torch.where(right, codes, (codes + 1) % 16)
    starts = iter([start for start in window_starts(n_frames, step.window, 0) for _ in VALIDATION_RATIOS])

    def knows(grid: Tensor, mask: Tensor, heard: Any = None) -> Tensor:
        start = next(starts)
        return 50.0 * F.one_hot(said[..., start : start + step.window][mask], 16).float()

    monkeypatch.setattr(step.model, "forward", knows)
    found = masked_metrics(step, given, torch.ones(1, n_frames, dtype=torch.bool))
    assert found["accuracy_at_100"].item() == pytest.approx(1 - (n_frames // 2) / n_frames)


# Configuration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"soft_labels": 0.5}, "soft_labels spreads labels over near codes, label_smoothing over all; set one"),
        ({"coarse": {**SMALL, "codebooks": 2, "known": 1}}, "coarse.known=1: the coarse model begins with nothing"),
        ({"fine": {**SMALL, "known": 1}}, "fine.known=1: must be coarse.codebooks=2, which it goes on from"),
        ({"fine_seconds": 2.0}, "fine_seconds=2 must not exceed data.seconds=0.5"),
        ({"enhancer": "demo_bass"}, "enhancer=demo_bass is of no use: given=0 keeps none of its codes; set"),
        (
            {"coarse": {**SMALL, "codebooks": 2, "condition": {"enhanced": True}}},
            "condition.enhanced needs an enhancer",
        ),
        ({"settle": 0}, "settle needs a fine model that guesses latents; set fine.near above zero"),
        (
            {"settle": 0, "given": [1], "fine": {**SMALL, "known": 2, "near": 4}},
            "settle=0 keeps so many codebooks: no fewer than given=1, and no more than fine.known=2",
        ),
        (
            {"settle": 1, "fine": {**SMALL, "known": 2, "near": 4}, "fine_sampling": {"doubt": 0.3}},
            "settle does not sample the fine model, so that fine_sampling.doubt and fine_sampling.guidance do nothing",
        ),
        (
            {"settle": 1, "fine": {**SMALL, "known": 2, "near": 4}, "fine_sampling": {"guidance": {"scale": 2}}},
            "settle does not sample the fine model",
        ),
        ({"fine": None, "coarse_errors": 1.0}, "coarse_errors is what a fine model learns to go on from"),
        ({"given": []}, "at least 1 item"),
        ({"given": [-1]}, "greater than or equal to 0"),
        ({"context": "separated/rough"}, "context=separated/rough is the input already"),
        ({"sampling": {"steps": 0}}, "greater than 0"),
        ({"sampling": {"temperature": -1}}, "greater than or equal to 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(make_config, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_config(**changes)


def test_an_enhancer_of_another_stem_is_refused(
    make_config: Callable[..., TokenTrainingConfig], tiny_codec: EncodecCodec, tiny_codec_folder: Path, tmp_path: Path
) -> None:
    write_enhancer(tmp_path / "enhancer", tiny_codec_folder, input="separated/rough", stem="drums")
    enhancer = {"enhancer": str(tmp_path / "enhancer"), "given": [1]}
    with pytest.raises(UserError, match="draws out drums, but the models are to write bass"):
        TokenTask(make_config(**enhancer), tiny_codec)
    TokenTask(make_config(**enhancer, learn=["bass", "drums"]), tiny_codec)


def test_an_enhancer_of_another_input_is_told(
    make_config: Callable[..., TokenTrainingConfig],
    tiny_codec: EncodecCodec,
    tiny_codec_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for heard, warnings in (("mixture", 1), ("separated/rough", 0)):
        caplog.clear()
        write_enhancer(tmp_path / heard, tiny_codec_folder, input=heard)
        TokenTask(make_config(enhancer=str(tmp_path / heard), given=[1]), tiny_codec)
        assert len(caplog.records) == warnings, heard
    write_enhancer(tmp_path / "other", tiny_codec_folder, input="mixture")
    TokenTask(make_config(enhancer=str(tmp_path / "other"), given=[1]), tiny_codec)
    assert "was trained to hear mixture, and input=separated/rough is something else" in caplog.text
