"""The training loop: one for every trainer, on accelerate, read from top to bottom.

A step's data depends only on the seed and the step, a step's randomness only on the generator state in the
checkpoint, and the learning rate only on the step: a run that was stopped goes on to the same numbers as one that
was not.

With several processes each takes its own items of a step, and what every process must do together (stop, fail,
validate, save) is agreed upon first, so that none waits for ever.
"""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from codec_ft.data.dataset import Batch, collate
from codec_ft.errors import UserError
from codec_ft.training.checkpoint import load_checkpoint, save_checkpoint
from codec_ft.training.config import OptimizerConfig, TrainConfig
from codec_ft.training.ema import Ema
from codec_ft.training.run_folder import RunFolder
from codec_ft.training.schedule import learning_rate
from codec_ft.training.stopping import StopRequest, leave_ctrl_c_to_parent
from codec_ft.training.task import Task


@dataclass
class TrainResult:
    """How a training ended."""

    step: int  # optimiser steps taken
    finished: bool  # False: stopped on request, and can be resumed
    seconds: float  # time spent in training, over all its parts
    best_value: float  # of the task's best_metric
    best_step: int


class StepBatches:
    """The item indices of this process's batches, from step `start` on.

    Items are dealt out in turn: micro-batch, then process, then place in the batch; so no two processes see the
    same item and a resumed run needs no record but its step. With `overfit_one_batch` every step is the first one.
    """

    def __init__(self, start: int, config: TrainConfig, process: int, processes: int):
        self.first = start * config.accumulate
        self.last = config.steps * config.accumulate
        self.repeat = config.accumulate if config.overfit_one_batch else self.last
        self.batch_size = config.batch_size
        self.process = process
        self.processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        for micro in range(self.first, self.last):
            begin = (micro % self.repeat * self.processes + self.process) * self.batch_size
            yield list(range(begin, begin + self.batch_size))

    def __len__(self) -> int:
        return self.last - self.first


def train(
    task: Task, run: RunFolder, config: TrainConfig, accelerator: Accelerator, *, workers: int = 0
) -> TrainResult:
    """Train until `config.steps` or until asked to stop (Ctrl-C, SIGTERM); resume from `checkpoints/last.pt`.

    Raises:
        UserError: the loss, the gradient or the validation is not finite (names the excerpts; the last checkpoint
            stays), the checkpoint cannot be used, or the disk is full.
    """
    # 1. Modules, optimisers, moving average.
    task.to(accelerator.device)
    modules = {name: accelerator.prepare(module) for name, module in task.phases.items()}
    optimizers = {
        name: accelerator.prepare(_optimizer(module, task.optimizer_config(name, config)))
        for name, module in modules.items()
    }
    main = accelerator.unwrap_model(modules[task.main])
    ema = Ema(main, config.ema_decay) if config.ema_decay else None

    # 2. Where the run stands.
    start, best_value, best_step, spent = 0, math.inf, 0, 0.0
    rng: dict[str, Tensor] | None = None
    last = run.checkpoints / "last.pt"
    if last.is_file():
        state = load_checkpoint(last)
        _restore(state, task, modules, optimizers, ema, accelerator)
        start, best_value, best_step = state["step"], state["best_value"], state["best_step"]
        spent, rng = state["seconds"], state["rng"][accelerator.process_index]
    if len(set(gather_object([start]))) > 1:
        raise UserError(f"{last}: not every process sees it. Set runs= to a folder that all machines share.")
    board = None
    if accelerator.is_main_process:
        run.forget_after(start)
        board = SummaryWriter(run.path / "tensorboard", purge_step=start + 1) if config.tensorboard else None

    def log(step: int, split: str, values: dict[str, float]) -> None:
        if accelerator.is_main_process:
            run.log({"step": step, "split": split, **values})
            if board:
                for name, value in values.items():
                    board.add_scalar(f"{split}/{name}", value, step)

    def validate(step: int) -> None:
        nonlocal best_value, best_step
        metrics, unusable = _validate(task, main, ema, valid_data, config, accelerator)
        if unusable:
            _stop_on_fault(step, last, f"validation: {task.best_metric}", unusable)
        log(step, "valid", metrics)
        if metrics[task.best_metric] < best_value:
            best_value, best_step = metrics[task.best_metric], step
            with ema.applied() if ema else nullcontext():
                if accelerator.is_main_process:
                    save_checkpoint(
                        run.checkpoints / "best.pt", {"step": step, "module": main.state_dict(), "metrics": metrics}
                    )

    def save(step: int) -> None:
        everyones_rng = gather_object([_rng_state()])
        if accelerator.is_main_process:
            save_checkpoint(
                last,
                {
                    "step": step,
                    "processes": accelerator.num_processes,
                    "modules": {name: accelerator.unwrap_model(m).state_dict() for name, m in modules.items()},
                    "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
                    "ema": ema.state_dict() if ema else None,
                    "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
                    "rng": everyones_rng,
                    "best_value": best_value,
                    "best_step": best_step,
                    "seconds": spent + time.monotonic() - began,
                },
            )
        accelerator.wait_for_everyone()

    # 3. Data. The validation data are opened now, so that what is wrong with them is told before the first step.
    valid_data = task.valid_data()
    items = config.steps * config.accumulate * config.batch_size * accelerator.num_processes
    batches = iter(
        DataLoader(
            task.train_data(items),
            batch_sampler=StepBatches(start, config, accelerator.process_index, accelerator.num_processes),
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=leave_ctrl_c_to_parent,
            pin_memory=accelerator.device.type == "cuda",
        )
    )

    # 4. Randomness, which each process draws for itself. It is set last, because building a loader draws some.
    _set_rng(rng, config.seed + accelerator.process_index)

    # 5. Steps.
    began = time.monotonic()
    step = start
    bar = tqdm(
        total=config.steps,
        initial=start,
        desc=run.path.name,
        unit="step",
        disable=not accelerator.is_main_process,
        dynamic_ncols=True,
    )
    with StopRequest() as stop, bar:
        if not config.steps:
            validate(0)
            save(0)
        while step < config.steps:
            micro_batches = [_next(batches).to(accelerator.device) for _ in range(config.accumulate)]
            values: dict[str, float] = {}
            for name in task.order(step):
                module, optimizer = modules[name], optimizers[name]
                options = task.optimizer_config(name, config)
                rate = learning_rate(step, config.steps, options)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad()  # here, because the phases before may have left gradients in this module
                losses = _accumulate_gradients(module, micro_batches, accelerator)
                norm = accelerator.clip_grad_norm_(module.parameters(), options.clip)
                prefix = "" if name == task.main else f"{name}_"
                values |= {f"{prefix}{key}": value for key, value in losses.items()}
                values |= {f"{prefix}gradient_norm": float(norm), f"{prefix}lr": rate}
                # fp16's loss scaler skips steps with infinite gradients by itself; anything else is a fault.
                gradient_fault = accelerator.scaler is None and not math.isfinite(float(norm))
                fault = gradient_fault or not math.isfinite(losses["loss"])
                if _any_process(accelerator, fault):
                    problem = f"{name}: loss {losses['loss']}, gradient norm {float(norm)}"
                    names = [item for batch in micro_batches for item in batch.names]
                    _stop_on_fault(step + 1, last, problem if fault else "", names if fault else [])
                optimizer.step()
            if ema:
                ema.update()
            step += 1
            bar.set_postfix(loss=f"{values['loss']:.4g}", best=f"{best_value:.4g}", refresh=False)
            bar.update()

            if step % config.log_every == 0 or step == config.steps:
                speed = (step - start) / (time.monotonic() - began)
                log(step, "train", _mean_of_processes(accelerator, values) | {"steps_per_second": speed})
            if step % config.validate_every == 0 or step == config.steps:
                validate(step)
            stopping = _any_process(accelerator, bool(stop))
            if step % config.checkpoint_every == 0 or step == config.steps or stopping:
                save(step)
            if stopping:
                break
    if board:
        board.close()
    return TrainResult(
        step=step,
        finished=step == config.steps,
        seconds=spent + time.monotonic() - began,
        best_value=best_value,
        best_step=best_step,
    )


def _optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return kind(parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay)


def _next(batches: Iterator[Batch]) -> Batch:
    """The next batch; an error of a process that reads comes without the traceback that torch wraps it in."""
    try:
        return next(batches)
    except UserError as error:
        wrapped = str(error)
        if "Original Traceback" not in wrapped:
            raise
        error.__traceback__ = None  # it refers to itself and to the loader, whose processes could not end in time
        raise UserError(wrapped.rstrip().rsplit("\n", 1)[-1].partition(": ")[2]) from None


def _accumulate_gradients(module: nn.Module, batches: list[Batch], accelerator: Accelerator) -> dict[str, float]:
    """Forward and backward of every micro-batch; processes exchange gradients only in the last."""
    totals: dict[str, Tensor] = {}
    for index, batch in enumerate(batches):
        exchange = nullcontext() if index == len(batches) - 1 else accelerator.no_sync(module)
        with exchange:
            losses = module(batch)
            accelerator.backward(losses["loss"] / len(batches))
        for name, value in losses.items():
            totals[name] = totals.get(name, torch.zeros_like(value)) + value.detach() / len(batches)
    return {name: float(value) for name, value in totals.items()}


def _any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether any process raised the flag."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum"))


def _mean_of_processes(accelerator: Accelerator, values: dict[str, float]) -> dict[str, float]:
    if accelerator.num_processes == 1:
        return values
    own = torch.tensor(list(values.values()), dtype=torch.float64, device=accelerator.device)
    return dict(zip(values, accelerator.reduce(own, "mean").tolist(), strict=True))


def _stop_on_fault(step: int, last: Path, problem: str, names: list[str]) -> NoReturn:
    """Raise what the processes together have to say; empty for a process without a fault of its own."""
    problems = dict.fromkeys(gather_object([problem] if problem else []))
    everyones_names = dict.fromkeys(gather_object(names))
    kept = f"The last checkpoint is intact: {last}." if last.is_file() else "There is no checkpoint yet."
    raise UserError(
        f"step {step}: not finite ({'; '.join(problems)}). The excerpts were: {', '.join(everyones_names)}. Listen to "
        f"them, or lower train.optimizer.learning_rate. {kept}"
    )


@torch.no_grad()
def _validate(
    task: Task, module: nn.Module, ema: Ema | None, data: Dataset, config: TrainConfig, accelerator: Accelerator
) -> tuple[dict[str, float], list[str]]:
    """Mean of each metric over the fixed excerpts, which the processes share out.

    Items for which a metric is undefined are left out of its mean.

    Returns:
        The means, and the names of the items whose `best_metric` is not finite.
    """
    mine = range(accelerator.process_index, len(data), accelerator.num_processes)  # type: ignore[arg-type]
    loader = DataLoader(data, batch_size=config.batch_size, sampler=mine, collate_fn=collate)
    found: dict[str, list[float]] = {}
    unusable: list[str] = []
    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    module.eval()
    with torch.random.fork_rng(devices), ema.applied() if ema else nullcontext():
        torch.manual_seed(config.seed)
        for batch in loader:
            for name, values in task.validate(module, batch.to(accelerator.device)).items():
                defined = torch.isfinite(values)
                found.setdefault(name, []).extend(values[defined].tolist())
                if name == task.best_metric:
                    unusable += [item for item, fine in zip(batch.names, defined, strict=True) if not fine]
    module.train()
    parts = gather_object([(found, unusable)])
    names = dict.fromkeys(name for part, _ in parts for name in part)
    together = {name: [value for part, _ in parts for value in part.get(name, [])] for name in names}
    means = {name: sum(values) / len(values) if values else math.nan for name, values in together.items()}
    return means, [name for _, part in parts for name in part]


def _rng_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore(
    state: dict,
    task: Task,
    modules: dict[str, nn.Module],
    optimizers: dict[str, torch.optim.Optimizer],
    ema: Ema | None,
    accelerator: Accelerator,
) -> None:
    if state["processes"] != accelerator.num_processes:
        raise UserError(
            f"this run was trained by {state['processes']} processes and cannot go on with "
            f"{accelerator.num_processes}: its batches would be others. Launch as many, or choose another run=."
        )
    for name in task.phases:
        accelerator.unwrap_model(modules[name]).load_state_dict(state["modules"][name])
        optimizers[name].load_state_dict(state["optimizers"][name])
    if ema:
        ema.load_state_dict(state["ema"])
    if accelerator.scaler and state["scaler"]:
        accelerator.scaler.load_state_dict(state["scaler"])


def _set_rng(state: dict[str, Tensor] | None, seed: int) -> None:
    """Go on from `_rng_state()`, or begin with the seed where there is none."""
    if state is None:
        torch.manual_seed(seed)
        return
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
