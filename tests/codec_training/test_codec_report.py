"""What a codec reached: the table against what is computed directly."""

import json
from pathlib import Path

import pytest
import soundfile
import torch
from torch.nn.utils import parametrize

from codec_ft.audio.files import read_audio
from codec_ft.codec_training.config import EncodecTrainingConfig
from codec_ft.codec_training.report import measure_codec, report_codec
from codec_ft.codec_training.task import CodecTask
from codec_ft.codecs.base import Codec
from codec_ft.metrics.waveform import si_sdr, usdr


@pytest.fixture
def sounding(tiny_codec: Codec, tiny_set: Path) -> dict[str, list[torch.Tensor]]:
    """Whole test tracks (2 s, of which all is excerpted), by stem."""
    return {
        stem: [
            torch.from_numpy(read_audio(tiny_set / "test" / f"test song {n}" / f"{stem}.wav", sample_rate=8000)[0])[
                None
            ]
            for n in range(2)
        ]
        for stem in ("bass", "drums")
    }


@torch.no_grad()
def test_the_table_of_a_codec(tiny_codec: Codec, tiny_set: Path, sounding: dict[str, list[torch.Tensor]]) -> None:
    found = measure_codec(tiny_codec, tiny_set, "test", ["bass", "drums"], seconds=2.0, per_track=1)
    assert (found["excerpts"], found["excerpt_seconds"], found["report_split"]) == (4, 2.0, "test")
    frames, hits, used = 0, torch.zeros(3), [set(), set(), set()]
    for row, (stem, waves) in zip(found["rows"], sounding.items(), strict=True):
        assert (row["system"], row["role"]) == (f"{stem} reconstructed", "output")
        outputs = []
        for wave in waves:
            codes, quantized = tiny_codec.quantize(tiny_codec.encode(wave))
            outputs.append(tiny_codec.decode(quantized, 16000))
            recoded, _ = tiny_codec.quantize(tiny_codec.encode(outputs[-1]))
            for t in range(800):
                if wave[0, 0, 20 * t : 20 * t + 20].pow(2).mean() > 1e-6:  # -60 dB
                    frames += 1
                    hits += (codes == recoded)[0, :, t]
                    for k in range(3):
                        used[k].add(int(codes[0, k, t]))
        for name, ratio in {"si_sdr": si_sdr, "usdr": usdr}.items():
            mean = sum(float(ratio(o, w)) for o, w in zip(outputs, waves, strict=True)) / 2
            assert row["against"]["target"][name] == pytest.approx(mean, abs=1e-3)
    assert found["frames"] == frames
    assert found["tokens"]["idempotence"] == pytest.approx((hits / frames).tolist(), abs=1e-6)
    assert found["usage"]["used"] == [len(codes) for codes in used]
    assert all(1 <= p <= n for p, n in zip(found["usage"]["perplexity"], found["usage"]["used"], strict=True))


def test_reporting_leaves_the_model_as_it_was(codec_config: EncodecTrainingConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = CodecTask(codec_config)
    before = {name: value.clone() for name, value in task.step.state_dict().items()}
    trainable = sum(p.numel() for p in task.step.parameters() if p.requires_grad)
    found = report_codec(task, task.step, tmp_path, "step 7", torch.device("cpu"))
    assert [row["system"] for row in found["rows"]] == [
        f"{stem} reconstructed" for stem in ("bass", "drums", "mixture")
    ]
    after = task.step.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert any(parametrize.is_parametrized(module) for module in task.step.modules())
    assert sum(p.numel() for p in task.step.parameters() if p.requires_grad) == trainable > 0

    samples = sorted(path.name for path in tmp_path.iterdir())
    named = {(name.split(" @ ")[0], name.split(" - ")[1]) for name in samples}
    assert named == {(f"test song {n}", stem) for n in range(2) for stem in ("bass", "drums", "mixture")}
    for name in samples:
        assert {path.name for path in (tmp_path / name).iterdir()} == {"output.wav", "target.wav", "sample.json"}
        side_car = json.loads((tmp_path / name / "sample.json").read_text())
        assert side_car["checkpoint"] == "step 7"
        assert name == f"{side_car['track']} @ {side_car['start']:.1f} s - {side_car['stem']}"
        assert {soundfile.info(tmp_path / name / f"{wav}.wav").frames for wav in ("output", "target")} == {8000}
