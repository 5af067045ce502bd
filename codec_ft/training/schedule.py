"""The learning rate as a function of the step."""

import math

from codec_ft.training.config import OptimizerConfig


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Learning rate of step `step` (0 is the first) of `steps`.

    A linear warm-up that reaches the peak at step `warmup_steps`, then the peak, or a line, half a cosine or an
    exponential down to `final_ratio` of it at the last step; or Noam's fall with the root of the steps (Vaswani et al.,
    2017, section 5.3), whatever the last step. Stepped by our own count: a scheduler that accelerate
    prepares would take as many steps as there are processes.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / (config.warmup_steps + 1)
    if config.decay == "constant":
        return config.learning_rate
    if config.decay == "noam":
        return config.learning_rate * math.sqrt((config.warmup_steps + 1) / (step + 1))
    progress = (step - config.warmup_steps) / max(1, steps - 1 - config.warmup_steps)
    progress = min(progress, 1.0)
    if config.decay == "exponential":
        return config.learning_rate * config.final_ratio**progress
    shape = 1 - progress if config.decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * (config.final_ratio + (1 - config.final_ratio) * shape)
