"""Reading an item's files as audio that can be compared."""

import numpy as np
import pytest
import soundfile

from codec_ft.errors import UserError
from experiments.evaluation.align import Note, find_delay, group_notes, read_aligned, read_sum
from experiments.evaluation.systems import Comparison, System

RATE = 16000
ITEM = ("song", "bass")
NOISE = np.random.default_rng(0).normal(scale=0.1, size=(2, 2 * RATE)).astype(np.float32)


def comparison(tmp_path, audio, rate=RATE, role="system"):
    """One system against the reference `NOISE`."""
    soundfile.write(tmp_path / "true.wav", NOISE.T, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "x.wav", np.asarray(audio).T, rate, subtype="FLOAT")
    references = System("reference", "ceiling", "", {ITEM: (tmp_path / "true.wav",)})
    return Comparison(references, (System("x", role, "", {ITEM: (tmp_path / "x.wav",)}),), (ITEM,), ())


def test_equal_files_need_no_word(tmp_path):
    aligned = read_aligned(comparison(tmp_path, NOISE), ITEM)
    assert aligned.notes == () and aligned.sample_rate == RATE
    assert np.array_equal(aligned.estimates["x"], aligned.reference) and np.array_equal(aligned.reference, NOISE)


@pytest.mark.parametrize("extra", [-40, 40])
def test_small_differences_in_length_are_made_up_for_with_a_word(tmp_path, extra):
    audio = NOISE[:, :extra] if extra < 0 else np.pad(NOISE, ((0, 0), (0, extra)))
    aligned = read_aligned(comparison(tmp_path, audio), ITEM)
    assert aligned.estimates["x"].shape == NOISE.shape
    assert np.array_equal(aligned.estimates["x"][:, :-40], NOISE[:, :-40])
    assert len(aligned.notes) == 1 and "40 samples" in aligned.notes[0].text
    if extra < 0:
        assert not aligned.estimates["x"][:, -40:].any()


def test_a_file_of_quite_another_length_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"x\.wav: 0\.50 s long, but its reference 2\.00 s"):
        read_aligned(comparison(tmp_path, NOISE[:, : RATE // 2]), ITEM)


def test_other_rates_and_channels_are_converted_with_a_word(tmp_path):
    smooth = np.sin(2 * np.pi * 220 * np.arange(4 * RATE) / (2 * RATE))[None].astype(np.float32)  # 2 s at 32 kHz
    aligned = read_aligned(comparison(tmp_path, smooth, 2 * RATE), ITEM)
    expected = np.sin(2 * np.pi * 220 * np.arange(2 * RATE) / RATE)
    assert aligned.estimates["x"].shape == NOISE.shape
    assert np.abs(aligned.estimates["x"][:, 500:-500] - expected[500:-500]).max() < 1e-3
    texts = [note.text for note in aligned.notes]
    assert texts[:2] == ["resampled from 32000 to 16000 Hz", "mono made stereo"]


def test_surround_is_refused_unless_it_is_averaged(tmp_path):
    compared = comparison(tmp_path, NOISE)
    soundfile.write(tmp_path / "true.wav", np.tile(NOISE, (3, 1)).T, RATE)
    with pytest.raises(UserError, match=r"true\.wav: has 6 channels\..*--mono"):
        read_aligned(compared, ITEM)
    assert read_aligned(compared, ITEM, None, 1).reference.shape == (1, NOISE.shape[1])


def test_rate_and_channels_of_the_whole_evaluation_can_be_chosen(tmp_path):
    aligned = read_aligned(comparison(tmp_path, NOISE), ITEM, 8000, 1)
    assert aligned.reference.shape == (1, RATE) and aligned.sample_rate == 8000


@pytest.mark.parametrize("delay", [-120, -1, 1, 120])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_delay_is_found_and_taken_out_only_when_asked(tmp_path, delay, sign):
    late = np.zeros_like(NOISE)
    if delay > 0:
        late[:, delay:] = NOISE[:, :-delay]
    else:
        late[:, :delay] = NOISE[:, -delay:]
    assert find_delay(NOISE, sign * late, RATE) == delay
    as_is = read_aligned(comparison(tmp_path, late), ITEM)
    word = "late" if delay > 0 else "early"
    assert as_is.notes[0].text == f"{abs(delay)} samples {word}, measured as it is; --align shifts it back"
    assert np.array_equal(as_is.estimates["x"], late)
    inner = slice(abs(delay), -abs(delay))
    shifted = read_aligned(comparison(tmp_path, late), ITEM, align=True).estimates["x"]
    assert np.array_equal(shifted[:, inner], NOISE[:, inner])


def test_silence_and_what_has_nothing_in_common_have_no_delay():
    other = np.random.default_rng(1).normal(size=NOISE.shape)
    assert find_delay(NOISE, np.zeros_like(NOISE), RATE) == 0
    assert find_delay(np.zeros_like(NOISE), NOISE, RATE) == 0
    assert find_delay(NOISE, other, RATE) == 0


def test_floors_are_not_looked_at_for_delays(tmp_path):
    assert read_aligned(comparison(tmp_path, np.roll(NOISE, 50, axis=1), role="floor"), ITEM).notes == ()


def test_a_mixture_is_summed_from_stems_of_one_length(tmp_path):
    soundfile.write(tmp_path / "a.wav", NOISE.T, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", NOISE.T, RATE, subtype="FLOAT")
    assert np.array_equal(read_sum([tmp_path / "a.wav", tmp_path / "b.wav"], None, None)[0], 2 * NOISE)
    soundfile.write(tmp_path / "b.wav", NOISE[:, :-1600].T, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=r"b\.wav: 1\.90 s long, but a\.wav beside it 2\.00 s"):
        read_sum([tmp_path / "a.wav", tmp_path / "b.wav"], None, None)


def test_notes_that_differ_in_numbers_only_become_one_sentence():
    notes = [Note("x", (f"song {i}", "bass"), f"{i} samples late") for i in range(3)] + [Note("y", ITEM, "mono")]
    assert group_notes(notes) == ["x: 0 samples late (bass of song 0 and 2 more).", "y: mono (bass of song)."]
