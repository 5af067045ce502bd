"""The token models that come with this package."""

import json

import numpy as np
import pytest

from codec_ft.training.stem_cards import LARGEST_MB
from token_models.load import SHIPPED, load_token_models, token_model_names
from token_models.training.card import card_text


def test_some_are_shipped() -> None:
    assert "demo_bass" in token_model_names()


@pytest.mark.parametrize("name", token_model_names())
def test_what_is_shipped(name: str) -> None:
    folder = SHIPPED / name
    trained = load_token_models(name)
    assert name.endswith(trained.stem) and trained.listens
    for weights in folder.glob("*.safetensors"):
        assert weights.stat().st_size < LARGEST_MB * 1e6
    card = json.loads((folder / "card.json").read_text())
    assert (folder / "card.md").read_text() == card_text(card)
    silence = np.zeros((1, 16000), dtype=np.float32)
    hiss = trained.enhance(silence, 16000, [silence for _ in trained.context])
    assert 10 * np.log10(np.mean(hiss**2)) < -45, "dBFS; what the README says"
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 16000), dtype=np.float32)
    stem = trained.enhance(noise, 16000, [noise for _ in trained.context])
    assert stem.shape == noise.shape and np.isfinite(stem).all()
    np.testing.assert_array_equal(trained.enhance(noise, 16000, [noise for _ in trained.context]), stem)


@pytest.mark.parametrize("name", token_model_names())
def test_cards_tell_of_a_stem_that_came_nearer(name: str) -> None:
    """In tokens, in uSDR and in log-mel distance, on songs that were not learnt from."""
    measured = json.loads((SHIPPED / name / "card.json").read_text())["measured"]
    assert measured["report_split"] == "test" and measured["tokens"]["trained"][0] > measured["tokens"]["copy_input"][0]
    rows = {row["role"]: row["against"]["target"] for row in measured["rows"] if row["role"] in ("floor", "output")}
    assert rows["output"]["usdr"] > rows["floor"]["usdr"]
    assert rows["output"]["log_mel_distance"] < rows["floor"]["log_mel_distance"]
