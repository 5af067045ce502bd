"""Every ID is trained for two steps at tiny size, and all of them together are a table."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_enhancer import write_enhancer
from small_models import tiny_dac
from small_runs import TINY, TINY_DISCRIMINATORS

from codec_ft.codec_training.config import EncodecTrainingConfig
from codec_ft.codecs.save import save_model
from codec_ft.config import config_hash
from codec_ft.data.separators.stand_ins.kinds import STAND_INS
from codec_ft.data.tracks import SPLITS
from codec_ft.finetune import results as finetune_results
from codec_ft.finetune.config import FinetuneConfig
from experiments.registry.catalogue import Experiment, choose, experiments
from experiments.registry.resolve import resolve, run
from experiments.results_table.entries import read_sections
from experiments.results_table.markdown import render_table
from experiments.results_table.numbers import FIXED_NAMES

IDS = [name for name, experiment in experiments().items() if experiment.card is not None]
DAC_CARDS = ("M5", "M6", "M7")
TINY_CODEBOOKS = 2
"""Instead of four: the tiny codecs have three."""

Words = Callable[[Experiment], list[str]]


@pytest.fixture(scope="session")
def tiny_dac_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DAC with random weights: K=3, V=16, hop 20 at 8 kHz."""
    folder = tmp_path_factory.mktemp("codecs") / "tiny_dac"
    save_model(tiny_dac(), folder)
    return folder


@pytest.fixture(scope="session")
def separated_set(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny set with the separated bass that it has under the names of the stand-ins for separators."""
    root = tmp_path_factory.mktemp("sets") / "demo"
    (root / "separated").mkdir(parents=True)
    for split in SPLITS:
        (root / split).symlink_to(tiny_set / split)
    for separator in STAND_INS:
        (root / "separated" / separator).symlink_to(tiny_set / "separated" / "rough")
    return root


@pytest.fixture
def tiny_words(tmp_path: Path, separated_set: Path, tiny_codec_folder: Path, tiny_dac_folder: Path) -> Words:
    """The overrides that make an ID tiny, and its run folder one of this test."""

    def words(experiment: Experiment) -> list[str]:
        shipped = resolve(experiment)
        found = [f"data.root={separated_set}", f"runs={tmp_path}", *TINY, "data.report_per_track=1"]
        if isinstance(shipped, EncodecTrainingConfig):  # the decoder of an enhancer
            write_enhancer(tmp_path / "enhancer", tiny_codec_folder)
            found += [f"start={tiny_codec_folder}", f"enhancer={tmp_path / 'enhancer'}"]
            return [*found, *TINY_DISCRIMINATORS["stft_windows"], "discriminators.heard_after=0"]
        assert isinstance(shipped, FinetuneConfig)
        codec = tiny_dac_folder if experiment.id.startswith(DAC_CARDS) else tiny_codec_folder
        found.append(f"codec={codec}")
        # The tiny set has no vocals, and a separated bass only.
        if shipped.input.startswith("separated/"):
            found += ["stem=bass"]
        elif shipped.stem not in ("bass", "drums"):
            found += ["stem=drums"]
        found += [f"data.extra=[{separated_set}]"] * bool(shipped.data.extra)
        found += ["data.encoded=false"] * shipped.data.encoded
        found += [f"bridge.codebooks={TINY_CODEBOOKS}"] * (shipped.bridge.codebooks == 4)
        found += [f"residual.codebooks={TINY_CODEBOOKS}"] * (shipped.residual.codebooks is not None)
        found += [f"target_codebooks={TINY_CODEBOOKS}"] * (shipped.target_codebooks is not None)
        return found

    return words


@pytest.mark.parametrize("name", IDS)
def test_trains(name: str, tiny_words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune_results, "MAJORITY_EXCERPTS", 2)
    (experiment,) = choose([name])
    words = tiny_words(experiment)
    config = resolve(experiment, words)
    folder = run(config)
    assert folder.finished and folder.path.name == f"{name}-{config_hash(config)}"
    assert (folder.path / "index.html").is_file() and len(list(folder.samples.glob("*/output.wav"))) >= 1

    section = next(section for section in read_sections([experiment], words, "demo") if section.entries)
    (entry,) = section.entries
    assert entry.numbers is not None and entry.numbers["steps"] == 2
    left_out = {name for name in FIXED_NAMES if name not in entry.numbers}
    if isinstance(config, FinetuneConfig):
        assert left_out <= {"latent_mse", "latent_mse_untouched"}
    else:
        assert {"usdr", "usdr_untouched", "log_mel_distance_untouched", "usdr_ceiling"}.isdisjoint(left_out)
    assert f"| `{name}` |" in render_table([section], "demo", words)
