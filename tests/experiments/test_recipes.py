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
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.training import stem_results
from codec_ft.training.stem_config import StemConfig
from experiments.registry.catalogue import Experiment, choose, experiments
from experiments.registry.resolve import resolve, run
from experiments.results_table.entries import read_sections
from experiments.results_table.markdown import render_table
from experiments.results_table.numbers import FIXED_NAMES
from token_models.training.config import TokenTrainingConfig
from token_models.training.start import SHAPE
from token_models.translation.config import TranslationConfig
from token_models.vampnet.files import VAMPNET
from token_models.vampnet.releases import PUBLISHED

IDS = [name for name, experiment in experiments().items() if experiment.card is not None]
DAC_CARDS = ("M5", "M6", "M7", "V4")
TINY_TRANSLATION = ["model.dim=16", "model.heads=2", "model.encoder_layers=1", "model.decoder_layers=1"]
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
        assert isinstance(shipped, StemConfig)
        codec = tiny_dac_folder if experiment.id.startswith(DAC_CARDS) else tiny_codec_folder
        found.append(f"codec={codec}")
        # The tiny set has no vocals, and a separated bass only.
        if shipped.input.startswith("separated/"):
            found += ["stem=bass"]
        elif shipped.stem not in ("bass", "drums"):
            found += ["stem=drums"]
        found += [f"data.extra=[{separated_set}]"] * bool(shipped.data.extra)
        found += ["data.encoded=false"] * shipped.data.encoded
        if not isinstance(shipped, FinetuneConfig):
            return [*found, *token_words(shipped, codec, tmp_path)]
        found += [f"bridge.codebooks={TINY_CODEBOOKS}"] * (shipped.bridge.codebooks == 4)
        found += [f"residual.codebooks={TINY_CODEBOOKS}"] * (shipped.residual.codebooks is not None)
        found += [f"target_codebooks={TINY_CODEBOOKS}"] * (shipped.target_codebooks is not None)
        return found

    return words


def token_words(shipped: StemConfig, codec: Path, folder: Path) -> list[str]:
    """What makes token models tiny; an enhancer that they need is one of this test."""
    if isinstance(shipped, TranslationConfig):
        return ["model.codebooks=2", *TINY_TRANSLATION]
    assert isinstance(shipped, TokenTrainingConfig)
    found = [f"{name}.{size}" for name in shipped.stages for size in ("dim=16", "heads=2", "layers=1")]
    found += ["coarse.codebooks=2", "fine.known=2", "fine_seconds=0.1"] if shipped.fine else []
    found += ["sampling.steps=2", "fine_sampling.steps=1", "also_steps=[1]"]
    found += [f"given=[{min(2, shipped.given[0])},1]"] if any(shipped.given) else []
    found += ["settle=2"] if (shipped.settle or 0) > 2 else []
    found += ["start=null"] if shipped.start else []  # models of another run, too large to be tiny
    if shipped.learn:  # a separated bass is all that the tiny set has of separated stems
        found.append("learn=[bass]" if shipped.hears else "learn=[bass,drums,mixture]")
    if shipped.enhancer:
        context = list(shipped.context)
        # As in `tiny_words`: it draws out what the set has.
        stem = "bass" if shipped.input.startswith("separated/") or shipped.stem == "bass" else "drums"
        write_enhancer(folder / "enhancer", codec, stem=stem, input=shipped.input, context=context)
        found.append(f"enhancer={folder / 'enhancer'}")
    return found


@pytest.mark.parametrize("name", IDS)
def test_trains(name: str, tiny_words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stem_results, "MAJORITY_EXCERPTS", 2)
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
    if isinstance(config, StemConfig):
        assert left_out <= {"latent_mse", "latent_mse_untouched"}
    else:
        assert {"usdr", "usdr_untouched", "log_mel_distance_untouched", "usdr_ceiling"}.isdisjoint(left_out)
    assert f"| `{name}` |" in render_table([section], "demo", words)


@pytest.mark.parametrize(("stage", "kind"), [("coarse", "coarse"), ("fine", "c2f")])
def test_at_full_scale_pretrained_models_have_the_published_sizes(stage: str, kind: str) -> None:
    (experiment,) = choose(["V1.bass"])
    config = resolve(experiment, scale="full")
    assert isinstance(config, TokenTrainingConfig) and config.start == VAMPNET and config.train.steps == 0
    ours, theirs = config.stages[stage], PUBLISHED[kind].config()
    assert (ours.codebooks or PUBLISHED["c2f"].n_codebooks, ours.known) == (theirs.codebooks, theirs.known)
    assert [getattr(ours, key) for key in SHAPE] == [getattr(theirs, key) for key in SHAPE]
