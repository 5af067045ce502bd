"""Samples: a few seconds of everything that belongs to one excerpt, to be heard side by side."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from codec_ft.atomic import atomic_path
from codec_ft.audio.files import write_audio


def write_sample(folder: Path, audio: Mapping[str, Tensor], sample_rate: int, side_car: Mapping[str, Any]) -> None:
    """Write `<name>.wav` for each `audio[name] [C, N]`, and `sample.json`.

    The thesis' five names are `input`, `output`, `quantized_input`, `quantized_target` and `target`. Stored as 16
    bit; what would clip is scaled down alike in all of them, so that they stay comparable.
    """
    loudest = max(float(wave.abs().max()) for wave in audio.values())
    scale = min(1.0, 0.999 / loudest) if loudest > 0 else 1.0
    for name, wave in audio.items():
        write_audio(folder / f"{name}.wav", (wave * scale).cpu().numpy(), sample_rate)
    with atomic_path(folder / "sample.json") as temporary:
        text = json.dumps(plain({**side_car, "scale": scale}), indent=1, ensure_ascii=False)
        temporary.write_text(text)


def plain(value: Any) -> Any:
    """Numbers, strings and containers that JSON can hold: tensors become lists, what is not finite becomes None."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
