"""The training loop on the toy trainer: resuming, phases, accumulation, faults."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import ToyTask, toy_config, toy_item

from codec_ft.audio.files import AudioFileError
from codec_ft.data.dataset import Batch, collate
from codec_ft.errors import UserError, told_to_the_user
from codec_ft.training.loop import StepBatches, TrainResult
from codec_ft.training.run_folder import RunFolder

TrainToy = Callable[..., tuple[TrainResult, RunFolder]]

EVERYTHING = {
    "accumulate": 2,
    "ema_decay": 0.9,
    "checkpoint_every": 3,
    "optimizer": {"name": "adamw", "learning_rate": 0.05, "warmup_steps": 4, "decay": "cosine", "weight_decay": 0.1},
}


def parameters(task: ToyTask) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v.detach().clone() for n, phase in task.phases.items() for k, v in phase.named_parameters()}


def records(run: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the one thing that is never the same twice."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "steps_per_second"} for line in lines]


def assert_same_run(a: tuple[ToyTask, RunFolder], b: tuple[ToyTask, RunFolder]) -> None:
    """Equal bit for bit: parameters, everything in both checkpoints but the clock, and metrics."""
    torch.testing.assert_close(parameters(a[0]), parameters(b[0]), rtol=0, atol=0)
    for name in ("last.pt", "best.pt"):
        states = [torch.load(run.checkpoints / name, weights_only=True) for _, run in (a, b)]
        for state in states:
            state.pop("seconds", None)
        torch.testing.assert_close(*states, rtol=0, atol=0, equal_nan=True)
    assert records(a[1]) == records(b[1])


def signal_at(item: int) -> Callable[[int], None]:
    return lambda index: signal.raise_signal(signal.SIGINT) if index == item else None


def crash_at(item: int) -> Callable[[int], None]:
    def crash(index: int) -> None:
        if index == item:
            raise RuntimeError("the power is cut")

    return crash


@pytest.mark.parametrize("adversarial", [False, True])
def test_stopped_run_goes_on_to_the_same_numbers(train_toy: TrainToy, adversarial: bool) -> None:
    kind = {"dropout": 0.3, "adversarial": adversarial}
    unbroken = ToyTask(**kind)
    result, whole = train_toy(unbroken, "unbroken", **EVERYTHING)
    assert result.finished and result.step == 12

    # Ctrl-C in step 5 (its items are 32..39): the step is finished, then a checkpoint is written.
    result, run = train_toy(ToyTask(**kind, on_read=signal_at(36)), "broken", **EVERYTHING)
    assert not result.finished and result.step == 5
    # Cut off in step 9: the checkpoint of step 6 is the last one, lines 7 and 8 of the metrics are written twice.
    with pytest.raises(RuntimeError, match="power"):
        train_toy(ToyTask(**kind, on_read=crash_at(70)), "broken", **EVERYTHING)
    assert records(run)[-1]["step"] == 8
    with run.metrics.open("a") as file:
        file.write('{"step": 9, "spl')  # and a line is cut in the middle
    resumed = ToyTask(**kind)
    result, run = train_toy(resumed, "broken", **EVERYTHING)
    assert result.finished and result.step == 12
    assert resumed.data is not None and min(resumed.data.seen) == 6 * 8
    assert_same_run((unbroken, whole), (resumed, run))
    assert [r["step"] for r in records(run) if r["split"] == "train"] == list(range(1, 13))
    assert [r["step"] for r in records(run) if r["split"] == "valid"] == [4, 8, 12]


def test_runtime_options_do_not_change_the_numbers(train_toy: TrainToy) -> None:
    """Reading in other processes, saving and writing tensorboard may differ between equal runs."""
    plain, busy = ToyTask(dropout=0.3), ToyTask(dropout=0.3)
    _, a = train_toy(plain, "plain", checkpoint_every=100)
    _, b = train_toy(busy, "busy", checkpoint_every=1, tensorboard=True, workers=2)
    assert_same_run((plain, a), (busy, b))
    assert list((b.path / "tensorboard").iterdir()) and not (a.path / "tensorboard").exists()


def test_run_that_has_all_its_steps_returns_at_once(train_toy: TrainToy) -> None:
    """Killed between the last checkpoint and the results: nothing is trained again, and it counts as finished."""
    first, again = ToyTask(), ToyTask()
    before, run = train_toy(first, **EVERYTHING)
    stamp = (run.checkpoints / "last.pt").stat().st_mtime_ns
    after, _ = train_toy(again, **EVERYTHING)
    assert after.finished and after.step == 12
    assert (after.best_value, after.best_step) == (before.best_value, before.best_step)
    assert again.data is not None and again.data.seen == []
    assert (run.checkpoints / "last.pt").stat().st_mtime_ns == stamp
    torch.testing.assert_close(parameters(again), parameters(first), rtol=0, atol=0)


def test_two_phases_equal_a_plain_loop(train_toy: TrainToy) -> None:
    """Step, then critic, each with its own optimiser; no gradient of one phase leaks into the other."""
    trained = ToyTask(adversarial=True)
    _, run = train_toy(trained, steps=6, optimizer={"learning_rate": 0.02, "clip": 0.05})

    plain = ToyTask(adversarial=True)
    critic, step = plain.phases["critic"], plain.phases["step"]
    optimizers = {step: torch.optim.Adam(step.parameters(), 0.02), critic: torch.optim.Adam(critic.parameters(), 3e-3)}
    norms = []
    for i in range(6):
        batch = collate([toy_item(index) for index in range(4 * i, 4 * i + 4)])
        for phase, optimizer in optimizers.items():
            gradients = torch.autograd.grad(phase(batch)["loss"], list(phase.parameters()))
            norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
            for parameter, gradient in zip(phase.parameters(), gradients, strict=True):
                parameter.grad = gradient * min(1.0, 0.05 / float(norm))
            optimizer.step()
            norms.append(float(norm))
    torch.testing.assert_close(parameters(trained), parameters(plain), rtol=1e-5, atol=1e-6)
    logged = [r for r in records(run) if r["split"] == "train"]
    assert [r[key] for r in logged for key in ("gradient_norm", "critic_gradient_norm")] == pytest.approx(norms, 1e-4)
    assert min(norms) > 0.05, "clipping was never needed, the test shows nothing"
    assert {r["critic_lr"] for r in logged} == {3e-3} and {r["lr"] for r in logged} == {0.02}


def test_order_decides_which_phases_a_step_has(train_toy: TrainToy) -> None:
    class LateCritic(ToyTask):
        def order(self, step: int) -> tuple[str, ...]:
            return ("step",) if step < 3 else ("step", "critic")

    untouched = parameters(ToyTask(adversarial=True))["critic.judge.weight"]
    task = LateCritic(adversarial=True)
    train_toy(task, "before", steps=3)
    assert torch.equal(parameters(task)["critic.judge.weight"], untouched)
    train_toy(task, "after", steps=4)
    assert not torch.equal(parameters(task)["critic.judge.weight"], untouched)


def test_accumulation_equals_one_large_batch(train_toy: TrainToy) -> None:
    large, small, other = ToyTask(), ToyTask(), ToyTask()
    train_toy(large, "large", batch_size=8)
    train_toy(small, "small", batch_size=4, accumulate=2)
    train_toy(other, "other", batch_size=4)
    torch.testing.assert_close(parameters(small), parameters(large), rtol=1e-5, atol=1e-6)
    assert (parameters(other)["step.linear.weight"] - parameters(large)["step.linear.weight"]).abs().max() > 1e-4


def test_items_are_dealt_out_without_overlap_and_without_memory() -> None:
    """Two processes, two micro-batches of two: step 0 has the items 0..7, step 1 has 8..15."""
    config = toy_config(Path("unused"), steps=2, batch_size=2, accumulate=2).train
    assert list(StepBatches(0, config, 0, 2)) == [[0, 1], [4, 5], [8, 9], [12, 13]]
    assert list(StepBatches(0, config, 1, 2)) == [[2, 3], [6, 7], [10, 11], [14, 15]]
    assert list(StepBatches(1, config, 1, 2)) == [[10, 11], [14, 15]]
    assert len(StepBatches(1, config, 1, 2)) == 2


def test_one_batch_can_be_overfitted(train_toy: TrainToy) -> None:
    """Every step has the two micro-batches of the first, before and after a resume; the loss goes to nothing."""
    config = toy_config(Path("unused"), steps=3, batch_size=2, accumulate=2, overfit_one_batch=True).train
    assert list(StepBatches(0, config, 1, 2)) == [[2, 3], [6, 7]] * 3
    assert list(StepBatches(2, config, 1, 2)) == [[2, 3], [6, 7]]
    task = ToyTask()
    _, run = train_toy(task, steps=200, overfit_one_batch=True, optimizer={"learning_rate": 0.05})
    assert task.data is not None and set(task.data.seen) == {0, 1, 2, 3}
    losses = [record["loss"] for record in records(run) if record["split"] == "train"]
    assert losses[-1] < 1e-3 * losses[0]


def test_best_checkpoint_holds_the_averaged_weights(train_toy: TrainToy) -> None:
    task = ToyTask()
    result, run = train_toy(task, ema_decay=0.9, optimizer={"learning_rate": 0.01})
    best = torch.load(run.checkpoints / "best.pt", weights_only=True)
    last = torch.load(run.checkpoints / "last.pt", weights_only=True)
    assert best["step"] == result.best_step == 12  # it was still getting better
    torch.testing.assert_close(best["module"], last["ema"]["average"], rtol=0, atol=0)
    torch.testing.assert_close(parameters(task)["step.linear.weight"], last["modules"]["step"]["linear.weight"])
    assert not torch.equal(best["module"]["linear.weight"], last["modules"]["step"]["linear.weight"])
    values = [r["error"] for r in records(run) if r["split"] == "valid"]
    assert result.best_value == best["metrics"]["error"] == min(values)
    items = collate([toy_item(i) for i in range(5)])
    module = ToyTask().step
    module.load_state_dict(best["module"])
    expected = float((module.estimate(items.input) - items.target).pow(2).mean().detach())
    assert values[-1] == pytest.approx(expected, rel=1e-5)


def test_best_checkpoint_stays_when_validation_gets_worse(train_toy: TrainToy) -> None:
    class Worsening(ToyTask):
        values = iter([3.0, 1.0, 2.0])

        def validate(self, module: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
            return {"error": torch.full((len(batch.names),), next(self.values))}

    result, run = train_toy(Worsening(), batch_size=5)  # all five excerpts in one batch
    assert (result.best_value, result.best_step) == (1.0, 8)
    assert torch.load(run.checkpoints / "best.pt", weights_only=True)["step"] == 8


def test_validation_leaves_out_what_is_undefined_and_is_the_same_each_time(train_toy: TrainToy) -> None:
    task = ToyTask()
    _, run = train_toy(task, optimizer={"learning_rate": 1e-12})
    found = [r for r in records(run) if r["split"] == "valid"]
    assert found[0]["noise"] == found[1]["noise"] == found[2]["noise"]
    items = collate([toy_item(i) for i in range(5)])
    errors = (ToyTask().step.estimate(items.input) - items.target).pow(2).mean(dim=(1, 2)).tolist()
    large = [error for error in errors if error > 1]
    assert 0 < len(large) < 5
    assert found[0]["some"] == pytest.approx(sum(large) / len(large), rel=1e-4)


def test_loss_that_is_not_finite_names_the_batch_and_leaves_the_checkpoint(train_toy: TrainToy) -> None:
    _, run = train_toy(ToyTask(poisoned=[17], on_read=signal_at(15)))  # step 4 is finished, then a checkpoint written
    last = run.checkpoints / "last.pt"
    before = last.read_bytes()
    with pytest.raises(UserError, match=r"step 5: not finite \(step: loss nan") as caught:
        train_toy(ToyTask(poisoned=[17]))
    assert "item 16, item 17, item 18, item 19" in str(caught.value) and "item 15" not in str(caught.value)
    assert str(last) in str(caught.value) and "\n" not in str(caught.value)
    assert last.read_bytes() == before


def test_gradient_that_is_not_finite_stops_before_it_does_harm(train_toy: TrainToy) -> None:
    task = ToyTask(steep=True)
    before = parameters(task)
    with pytest.raises(UserError, match=r"loss \d.*gradient norm nan.*item 0, item 1.*no checkpoint yet"):
        train_toy(task)
    torch.testing.assert_close(parameters(task), before, rtol=0, atol=0)


def test_validation_that_is_not_finite_names_the_excerpts(train_toy: TrainToy) -> None:
    with pytest.raises(UserError, match=r"step 4: not finite \(validation: error\). The excerpts were: item 2, item 4"):
        train_toy(ToyTask(poisoned_valid=[2, 4]))


def test_mixed_precision_without_a_gpu_is_left_out_with_a_word(
    train_toy: TrainToy, caplog: pytest.LogCaptureFixture
) -> None:
    plain, mixed = ToyTask(), ToyTask()
    train_toy(plain, "plain")
    train_toy(mixed, "mixed", mixed_precision="bf16")
    assert "train.mixed_precision=bf16 is left out" in caplog.text
    torch.testing.assert_close(parameters(mixed), parameters(plain), rtol=0, atol=0)


def test_error_in_a_reading_process_is_one_line(train_toy: TrainToy, capsys: pytest.CaptureFixture[str]) -> None:
    def broken_file(index: int) -> None:
        if index == 9:
            raise AudioFileError.at(Path("songs/bass.wav"), "is cut short", "Copy it again")

    with pytest.raises(SystemExit) as caught, told_to_the_user():
        train_toy(ToyTask(on_read=broken_file), workers=1)
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.endswith("error: songs/bass.wav: is cut short. Copy it again.\n") and "Traceback" not in told
    del caught  # its traceback would keep the reading process waiting


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_mixed_precision_on_a_gpu(tmp_path: Path) -> None:
    """In a process of its own, because the accelerator of this one is on the CPU."""
    script = Path(__file__).with_name("gpu_training.py")
    environment = {key: value for key, value in os.environ.items() if key != "ACCELERATE_USE_CPU"}
    subprocess.run([sys.executable, script, tmp_path], check=True, env=environment, timeout=300)
