"""The table and the samples of a fine-tuning, against what is computed directly from the files."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import soundfile
import torch
from torch import Tensor

from codec_ft.data.dataset import collate
from codec_ft.data.excerpts import Excerpt
from codec_ft.data.tracks import find_tracks
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.task import FinetuneTask
from codec_ft.metrics.registry import METRICS, waveform_metrics
from codec_ft.training.stem_results import MAJORITY_EXCERPTS, report
from codec_ft.training.stem_sample import excerpt_folder, other_floors, save_sample, separate_sample

MakeTask = Callable[..., FinetuneTask]
CPU = torch.device("cpu")
WAVS = ("input", "output", "quantized_input", "quantized_target", "target")


def read(path: Path) -> Tensor:
    """A mono file as a batch of one, `[1, 1, N]`."""
    samples, _ = soundfile.read(path, dtype="float32")
    return torch.from_numpy(samples)[None, None]


def loud_frames(target: Tensor) -> Tensor:
    """Frames of 20 samples above -60 dB, `[T]`."""
    return target.reshape(-1, 20).pow(2).mean(dim=1) > 1e-6


@pytest.fixture
def direct(tiny_set: Path) -> Callable[[FinetuneTask, str], list[dict[str, Any]]]:
    """Everything about the two test tracks (2 s, all of which is the excerpt), step by step."""

    @torch.no_grad()
    def compute(task: FinetuneTask, source: str) -> list[dict[str, Any]]:
        codec, found = task.codec, []
        for n in range(2):
            name = f"test song {n}"
            target, mixture = (read(tiny_set / "test" / name / f"{stem}.wav") for stem in ("bass", "mixture"))
            rough = read(tiny_set / "separated" / "rough" / "test" / name / "bass.wav")
            heard = mixture if source == "mixture" else rough
            warm, untouched, clean = task.step.enhancer(heard).latents, codec.encode(heard), codec.encode(target)
            codes = {key: codec.quantize(x)[0] for key, x in {"warm": warm, "copy": untouched, "clean": clean}.items()}
            audio = {key: codec.decode(codec.codes_to_latents(x), 16000) for key, x in codes.items()}
            found.append(
                {
                    "target": target,
                    "audio": {
                        f"{source} (floor)": heard,
                        "mixture (floor)": mixture,
                        "untouched encoder": audio["copy"],
                        "output": audio["warm"],
                        "quantized_target (ceiling)": audio["clean"],
                    },
                    "latent_mse": {
                        "untouched encoder": float((untouched - clean).pow(2).mean()),
                        "output": float((warm - clean).pow(2).mean()),
                    },
                    "codes": {**codes, "again": codec.quantize(codec.encode(audio["clean"]))[0]},
                    "loud": loud_frames(target),
                }
            )
        return found

    return compute


def by_hand(first: Tensor, second: Tensor) -> float:
    """The squared Frechet distance of the Gaussians of two sets `[n, D]`."""
    covariances = [np.cov(vectors.numpy().T) for vectors in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    return float(means + np.trace(covariances[0] + covariances[1] - 2 * root))


@pytest.mark.parametrize("source", ["mixture", "separated/rough"])
def test_the_table(lively_task: MakeTask, direct: Callable, tmp_path: Path, source: str) -> None:
    task = lively_task(input=source)
    outcome = report(task, task.step, tmp_path, "best, step 3", CPU)
    assert (outcome["report_split"], outcome["excerpts"], outcome["excerpt_seconds"]) == ("test", 2, 2.0)
    json.dumps(outcome, allow_nan=False)

    expected = [(f"{source} (floor)", "floor")]
    if source != "mixture":
        expected.append(("mixture (floor)", "floor"))
    expected += [
        ("untouched encoder", "baseline"),
        ("output", "output"),
        ("quantized_target (ceiling)", "ceiling"),
    ]
    assert [(row["system"], row["role"]) for row in outcome["rows"]] == expected

    items = direct(task, source)
    for row in outcome["rows"]:
        name = row["system"]
        references = {"target": [item["target"] for item in items]}
        if row["role"] != "ceiling":
            references["quantized_target"] = [item["audio"]["quantized_target (ceiling)"] for item in items]
        assert row["against"].keys() == references.keys()
        for other, targets in references.items():
            assert set(row["against"][other]) <= METRICS.keys()
            pairs = [waveform_metrics(item["audio"][name], t, 8000) for item, t in zip(items, targets, strict=True)]
            for metric, value in row["against"][other].items():
                mean = sum(float(pair[metric]) for pair in pairs) / 2
                assert value == pytest.approx(mean, abs=2e-3), (name, other, metric)
        clean, other = (
            [task.codec.encode(wave)[0].T.double() for wave in waves]
            for waves in (references["target"], [item["audio"][name] for item in items])
        )
        assert row["frechet_distance"] == pytest.approx(by_hand(torch.cat(other), torch.cat(clean)), rel=2e-2), name
        if name in ("untouched encoder", "output"):
            assert row["latent_mse"] == pytest.approx(sum(item["latent_mse"][name] for item in items) / 2, rel=1e-4)
        else:
            assert row["latent_mse"] is None
    floor = outcome["rows"][0]["against"]["target"]
    assert {"si_sdr", "usdr", "log_mel_distance"} <= floor.keys()


def test_the_mixture_floor_is_lower_than_the_separated_one(lively_task: MakeTask, tmp_path: Path) -> None:
    task = lively_task(input="separated/rough")
    rows = {row["system"]: row["against"]["target"] for row in report(task, task.step, tmp_path, "", CPU)["rows"]}
    # The rough bass has 0.3 of the mixture's drums in it: 10.5 dB less.
    difference = rows["separated/rough (floor)"]["usdr"] - rows["mixture (floor)"]["usdr"]
    assert difference == pytest.approx(20 * np.log10(1 / 0.3), abs=0.05)


def test_the_tokens(lively_task: MakeTask, direct: Callable, tmp_path: Path) -> None:
    task = lively_task()
    tokens = report(task, task.step, tmp_path, "", CPU)["tokens"]
    items = direct(task, "mixture")
    assert tokens["frames"] == sum(int(item["loud"].sum()) for item in items) < 1600

    def accuracy(answers: list[Tensor]) -> list[float]:
        hits = [
            (answer == item["codes"]["clean"])[0][:, item["loud"]] for answer, item in zip(answers, items, strict=True)
        ]
        return torch.cat(hits, dim=1).double().mean(dim=1).tolist()

    for reading, key in {"trained": "warm", "copy_input": "copy", "idempotence": "again"}.items():
        assert tokens[reading] == pytest.approx(accuracy([item["codes"][key] for item in items]), abs=1e-9), reading
    assert tokens["trained"] != tokens["copy_input"]

    counters = [Counter[int](), Counter[int](), Counter[int]()]
    data = task.train_data(MAJORITY_EXCERPTS)
    for index in range(MAJORITY_EXCERPTS):
        target = data[index]["target"][None]
        with torch.no_grad():
            codes = task.codec.quantize(task.codec.encode(target))[0][0][:, loud_frames(target)]
        for counter, row in zip(counters, codes.tolist(), strict=True):
            counter.update(row)
    most = [min(counter, key=lambda code: (-counter[code], code)) for counter in counters]
    constant = torch.tensor(most)[None, :, None].expand(1, 3, 800)
    assert tokens["majority"] == pytest.approx(accuracy([constant, constant]), abs=1e-9)


@pytest.mark.parametrize("source", ["mixture", "separated/rough"])
def test_the_samples(lively_task: MakeTask, direct: Callable, tmp_path: Path, source: str) -> None:
    task = lively_task(input=source)
    report(task, task.step, tmp_path, "best, step 3", CPU)
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert folders == ["test song 0 @ 0.0 s", "test song 1 @ 0.0 s"]
    for folder, item in zip(folders, direct(task, source), strict=True):
        here = tmp_path / folder
        wavs = WAVS if source == "mixture" else (*WAVS, "mixture")  # a separated stem comes from a mixture
        assert {path.name for path in here.iterdir()} == {f"{wav}.wav" for wav in wavs} | {"sample.json"}
        side_car = json.loads((here / "sample.json").read_text())
        audio = item["audio"]
        tensors = {
            "input": audio[f"{source} (floor)"],
            "output": audio["output"],
            "quantized_input": audio["untouched encoder"],
            "quantized_target": audio["quantized_target (ceiling)"],
            "target": item["target"],
            "mixture": audio["mixture (floor)"],
        }
        tensors = {name: tensors[name] for name in wavs}
        assert side_car["scale"] == pytest.approx(
            min(1.0, 0.999 / max(float(wave.abs().max()) for wave in tensors.values())), rel=1e-4
        )
        for name, wave in tensors.items():
            info = soundfile.info(here / f"{name}.wav")
            assert (info.samplerate, info.frames, info.channels, info.subtype) == (8000, 16000, 1, "PCM_16")
            written = read(here / f"{name}.wav") / side_car["scale"]
            torch.testing.assert_close(written, wave, rtol=0, atol=1.5 / 32768 / side_car["scale"])
        assert side_car["track"] == folder.partition(" @ ")[0]
        assert (side_car["split"], side_car["start"], side_car["seconds"]) == ("test", 0.0, 2.0)
        assert (side_car["stem"], side_car["input"], side_car["decode"]) == ("bass", source, "codes")
        assert side_car["checkpoint"] == "best, step 3"
        assert side_car["latent_mse"] == pytest.approx(item["latent_mse"], rel=1e-4)
        loud = item["loud"]
        share = (item["codes"]["warm"] == item["codes"]["clean"])[0][:, loud].double().mean(dim=1)
        assert side_car["token_accuracy"]["trained"] == pytest.approx(share.tolist(), abs=1e-9)
        usdr = waveform_metrics(audio["output"], item["target"], 8000)["usdr"]
        assert side_car["metrics"]["output"]["target"]["usdr"] == pytest.approx(float(usdr), abs=1e-3)


def test_what_would_clip_is_scaled_down_alike(lively_task: MakeTask, tiny_set: Path, tmp_path: Path) -> None:
    task = lively_task()
    data = task.excerpts("test", 2.0, 1, "mixture")
    sample = separate_sample(task, task.step, collate([data[0]]))
    loud = 5 * sample.separation.output / sample.separation.output.abs().max()
    sample.separation = dataclasses.replace(sample.separation, output=loud)
    save_sample(tmp_path, sample, task, data.excerpts[0], "x")
    assert json.loads((tmp_path / "sample.json").read_text())["scale"] == pytest.approx(0.999 / 5)
    assert float(read(tmp_path / "output.wav").abs().max()) == pytest.approx(0.999, abs=1e-4)
    torch.testing.assert_close(read(tmp_path / "target.wav"), sample.batch.target * 0.999 / 5, rtol=0, atol=1e-4)


def test_excerpts_of_a_track_have_folders_of_their_own(tiny_set: Path) -> None:
    track = find_tracks(tiny_set, "test")[0]
    folders = {excerpt_folder(Path("samples"), Excerpt(track, start, 1.0)) for start in (0.0, 1.0, 12.34)}
    assert folders == {Path(f"samples/test song 0 @ {start} s") for start in ("0.0", "1.0", "12.3")}


def test_the_output_can_be_decoded_from_the_latents(lively_task: MakeTask, tiny_set: Path, tmp_path: Path) -> None:
    task = lively_task(decode="latents")
    report(task, task.step, tmp_path, "", CPU)
    mixture = read(tiny_set / "test" / "test song 1" / "mixture.wav")
    with torch.no_grad():
        wanted = task.codec.decode(task.step.enhancer(mixture).latents, 16000)
    side_car = json.loads((tmp_path / "test song 1 @ 0.0 s" / "sample.json").read_text())
    written = read(tmp_path / "test song 1 @ 0.0 s" / "output.wav") / side_car["scale"]
    torch.testing.assert_close(written, wanted, rtol=0, atol=1e-4 / side_car["scale"])


@pytest.mark.parametrize(
    "settings",
    [
        {"losses": {"softmax": 1.0}, "bridge": {"kind": "dense", "codebooks": 2}},
        {"target": "quantized", "target_codebooks": 2},
    ],
    ids=["a bridge to two codebooks", "a target of two codebooks"],
)
def test_a_model_of_two_codebooks_is_reported_on_two(lively_task: MakeTask, tmp_path: Path, settings: dict) -> None:
    task = lively_task(**settings)
    tokens = report(task, task.step, tmp_path, "", CPU)["tokens"]
    assert [len(tokens[name]) for name in ("trained", "copy_input", "majority", "idempotence")] == [2, 3, 3, 3]
    side_car = json.loads((tmp_path / "test song 0 @ 0.0 s" / "sample.json").read_text())
    assert {name: len(values) for name, values in side_car["token_accuracy"].items()} == {
        "trained": 2,
        "copy_input": 3,
        "idempotence": 3,
    }
    heard, target = (read(tmp_path / "test song 0 @ 0.0 s" / f"{name}.wav") for name in ("input", "target"))
    heard, target = heard / side_car["scale"], target / side_car["scale"]
    codes = task.step.separate(heard).codes
    with torch.no_grad():
        decoded = task.codec.decode(task.codec.codes_to_latents(codes), 16000)
    written = read(tmp_path / "test song 0 @ 0.0 s" / "output.wav") / side_car["scale"]
    assert codes.shape == (1, 2, 800)
    # The wavs are rounded to 16 bit, which moves a code here and there.
    assert float((written - decoded).square().mean()) < 0.05 * float(written.square().mean())


def test_what_is_heard_beside_the_input_is_a_floor(lively_task: MakeTask, tiny_set: Path, tmp_path: Path) -> None:
    task = lively_task(context="separated/rough")
    outcome = report(task, task.step, tmp_path, "", CPU)
    assert [row["system"] for row in outcome["rows"]] == [
        "mixture (floor)",
        "separated/rough (floor)",
        "untouched encoder",
        "output",
        "quantized_target (ceiling)",
    ]
    assert outcome["rows"][1]["role"] == "floor"
    folder = tmp_path / "test song 1 @ 0.0 s"
    assert {path.stem for path in folder.glob("*.wav")} == {*WAVS, "context"}
    side_car = json.loads((folder / "sample.json").read_text())
    assert (side_car["input"], side_car["context"]) == ("mixture", ["separated/rough"])
    rough = read(tiny_set / "separated" / "rough" / "test" / "test song 1" / "bass.wav")
    torch.testing.assert_close(read(folder / "context.wav") / side_car["scale"], rough, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "floors"),
    [
        ({}, {}),
        ({"input": "separated/a"}, {"mixture": "mixture"}),
        ({"input": "separated/a", "context": "mixture"}, {"mixture": "mixture"}),
        ({"input": "mixture", "context": "separated/a"}, {"context": "separated/a"}),
        ({"input": "separated/a", "context": "separated/b"}, {"mixture": "mixture", "context": "separated/b"}),
        (
            {"input": "separated/a", "context": ["separated/b", "mixture", "separated/c"]},
            {"mixture": "mixture", "context": "separated/b", "context_2": "separated/c"},
        ),
        ({"input": "noise"}, {"mixture": "mixture"}),
    ],
)
def test_floors_beside_the_input(settings: dict, floors: dict) -> None:
    assert other_floors(FinetuneConfig.model_validate({"id": "x", **settings})) == floors


def test_what_was_learnt_by_heart_is_reported_on_itself(lively_task: MakeTask, tiny_set: Path, tmp_path: Path) -> None:
    data = {"root": tiny_set, "seconds": 0.5, "report_seconds": 2.0, "scope": "segment", "song": "train song 1"}
    task = lively_task(data=data)
    outcome = report(task, task.step, tmp_path, "", CPU)
    assert (outcome["report_split"], outcome["excerpts"]) == ("train", 1)
    assert outcome["excerpt_seconds"] == 0.5, "as long as what was learnt"
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("train song 1 @ ")
    assert soundfile.info(folder / "output.wav").frames == 4000
