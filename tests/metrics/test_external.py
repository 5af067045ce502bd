"""External tools: stand-ins on PATH that check how they are called and answer as the real ones do."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from codec_ft.errors import UserError
from codec_ft.metrics import external
from codec_ft.metrics.external import METRICS, TOOLS, available_tools, peaq_odg, visqol

READ = """
import sys
import wave
from array import array
def read(path):
    with wave.open(path) as file:
        assert file.getframerate() == 48000 and file.getsampwidth() == 2
        return array("h", file.readframes(file.getnframes())), file.getnchannels()
"""
VISQOL = f"""{READ}
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
(target, channels), (estimate, _) = read(options["--reference_file"]), read(options["--degraded_file"])
assert channels == 1 and len(target) == len(estimate)
assert not any(target[:24000]) and not any(target[-24000:]) and not any(estimate[:24000])
with open("calls.txt", "a") as file:
    print(len(target) - 48000, options.get("--similarity_to_quality_model", "default"), file=file)
# As the real one prints it; the number is the level of the estimate relative to the target.
print("ViSQOL conformance version: 310\\nAudio mode")
print("MOS-LQO:", round(max(estimate) / max(target), 5), sep="\\t\\t")
"""
PEAQ = f"""{READ}
assert sys.argv[1] == "--advanced" and len(sys.argv) == 4
(target, channels), (estimate, estimate_channels) = map(read, sys.argv[2:])
assert channels == estimate_channels and len(target) == len(estimate)
with open("calls.txt", "a") as file:
    print(len(target) // channels, channels, file=file)
print("Objective Difference Grade: -1.250")
print("Distortion Index: 0.731")
"""

RATE = 16000


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("VISQOL_MODEL", raising=False)


def install(tmp_path: Path, name: str, script: str) -> Path:
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    return path


def tone(seconds: float, items: int = 1, channels: int = 1) -> Tensor:
    time = torch.arange(round(seconds * RATE)) / RATE
    return (0.5 * torch.sin(2 * math.pi * 440 * time)).expand(items, channels, -1)


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls.txt").read_text().splitlines()


def test_visqol_hears_mono_clips_of_10_s_at_most(tmp_path: Path):
    install(tmp_path, "visqol", VISQOL)
    target = tone(25.0, items=2, channels=2)
    found = visqol(torch.stack([0.5 * target[0], target[1]]), target, RATE)
    torch.testing.assert_close(found, torch.tensor([0.5, 1.0], dtype=torch.float64), rtol=0, atol=1e-3)
    # Three equal clips of each item, at 48 kHz.
    assert calls(tmp_path) == ["400000 default"] * 6


def test_visqol_is_told_where_its_model_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, "visqol", VISQOL)
    monkeypatch.setenv("VISQOL_MODEL", "/models/libsvm_nu_svr_model.txt")
    visqol(tone(1.0), tone(1.0), RATE)
    assert calls(tmp_path) == ["48000 /models/libsvm_nu_svr_model.txt"]


def test_clips_are_averaged_and_loud_ones_are_not_clipped(tmp_path: Path):
    install(tmp_path, "visqol", VISQOL)
    target = tone(20.0)
    estimate = target.clone()
    estimate[..., : 10 * RATE] *= 4.0  # peaks of 2.0
    assert visqol(estimate, target, RATE).item() == pytest.approx((4.0 + 1.0) / 2, abs=2e-3)


def test_silent_clips_are_left_out(tmp_path: Path):
    install(tmp_path, "visqol", VISQOL)
    target = tone(20.0).clone()
    target[..., 10 * RATE :] = 0.0
    assert visqol(0.5 * target, target, RATE).item() == pytest.approx(0.5, abs=1e-3)
    assert len(calls(tmp_path)) == 1
    assert visqol(target, torch.zeros_like(target), RATE).isnan().all()


def test_peaq_hears_stereo(tmp_path: Path):
    install(tmp_path, "peaq", PEAQ)
    found = peaq_odg(tone(2.0, channels=2), tone(2.0, channels=2), RATE)
    assert found.dtype == torch.float64 and found.tolist() == [-1.25]
    peaq_odg(tone(2.0), tone(2.0), RATE)
    peaq_odg(tone(2.0, channels=6), tone(2.0, channels=6), RATE)
    assert calls(tmp_path) == ["96000 2", "96000 1", "96000 2"]


def test_what_is_installed(tmp_path: Path):
    assert available_tools() == []
    install(tmp_path, "peaq", PEAQ)
    assert available_tools() == ["peaq_odg"]
    install(tmp_path, "visqol", VISQOL)
    assert available_tools() == list(TOOLS) == list(METRICS) == ["visqol", "peaq_odg"]


@pytest.mark.parametrize(
    "name, words", [("visqol", "visqol: is not on PATH.*google/visqol"), ("peaq_odg", "peaq: is not on PATH.*gstpeaq")]
)
def test_a_missing_tool(name: str, words: str):
    with pytest.raises(UserError, match=words):
        TOOLS[name](tone(1.0), tone(1.0), RATE)


@pytest.mark.parametrize(
    "name, script, words",
    [
        # Both end with status 0 whatever happens; PEAQ even prints a number.
        (
            "visqol",
            "import sys; print('[ERROR] Error executing ViSQOL: INVALID: too short.', file=sys.stderr)",
            r"exit status 0\); its last words: \[ERROR\] Error executing ViSQOL: INVALID: too short\. If it",
        ),
        (
            "peaq",
            "print('Error: Could not decode stream.'); print('Objective Difference Grade: 0.171')",
            r"its last words: Error: Could not decode stream\.",
        ),
        ("peaq", "print('Objective Difference Grade: -nan')", "its last words: Objective Difference Grade: -nan"),
        ("visqol", "print('MOS-LQO: 4.1'); raise SystemExit('killed')", r"exit status 1\); its last words: killed"),
        ("visqol", "", "its last words: none"),
    ],
)
def test_what_a_tool_says_when_it_fails(tmp_path: Path, name: str, script: str, words: str):
    install(tmp_path, name, script)
    with pytest.raises(UserError, match=words) as caught:
        (visqol if name == "visqol" else peaq_odg)(tone(1.0), tone(1.0), RATE)
    assert "\n" not in str(caught.value)


def test_a_tool_that_hangs_or_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(external, "TIMEOUT_SECONDS", 0.2)
    install(tmp_path, "peaq", "import time; time.sleep(60)")
    with pytest.raises(UserError, match="peaq: said nothing for 0 s about a clip of 1 s"):
        peaq_odg(tone(1.0), tone(1.0), RATE)
    install(tmp_path, "peaq", "").write_text("#!/no/such/interpreter\n")
    with pytest.raises(UserError, match=r"peaq: cannot be run \(No such file"):
        peaq_odg(tone(1.0), tone(1.0), RATE)


def test_bad_input(tmp_path: Path):
    install(tmp_path, "visqol", VISQOL)
    with pytest.raises(ValueError, match=r"\[1, 1, 16000\].*\[1, 2, 16000\]"):
        visqol(tone(1.0), tone(1.0, channels=2), RATE)
    with pytest.raises(ValueError, match="NaN"):
        visqol(torch.full((1, 1, 100), math.nan), tone(1.0)[..., :100], RATE)
