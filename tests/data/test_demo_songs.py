"""Scores and stems of the demo set: determinism, form, levels, and what is heard at a known pitch or vowel."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import signal

from codec_ft.data.demo.bass import draw_bass
from codec_ft.data.demo.composer import compose
from codec_ft.data.demo.drums import KITS, PLACES, strike
from codec_ft.data.demo.effects import compress, limiter_gain, peaking, shelf
from codec_ft.data.demo.other import draw_instrument
from codec_ft.data.demo.plan import Clock, build_chord, choose_style
from codec_ft.data.demo.players import CONSONANTS as SUNG_CONSONANTS
from codec_ft.data.demo.render import LUFS_SPREAD, STEM_LUFS, loudness, mix, render_track
from codec_ft.data.demo.score import SAMPLE_RATE, STEMS, Note, Singer, Syllable, TrackSpec
from codec_ft.data.demo.styles import SCALES, STYLES
from codec_ft.data.demo.synth import play_notes, string
from codec_ft.data.demo.vocals import CONSONANTS, VOWEL_FORMANTS, sing_syllables

SPEC = TrackSpec(seed=3, split="train", index=1, seconds=6.0)
MAN = Singer(female=False, lowest=45, tract=1.0, breath=0.2, vibrato=0.0, effort=0.6)


@pytest.fixture(scope="module")
def stems() -> dict[str, np.ndarray]:
    return render_track(SPEC)


def spectrum(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and windowed magnitudes of a whole sound."""
    return np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE), np.abs(np.fft.rfft(audio * np.hanning(len(audio))))


def test_same_spec_gives_the_same_stems_and_another_seed_does_not(stems):
    again = render_track(SPEC)
    other = render_track(replace(SPEC, seed=4))
    for stem in STEMS:
        assert np.array_equal(stems[stem], again[stem])
        assert not np.array_equal(stems[stem], other[stem])


def test_every_part_of_the_spec_changes_the_song():
    changed = [replace(SPEC, split="valid"), replace(SPEC, index=2), replace(SPEC, seed=5)]
    assert len({compose(spec).vocals for spec in [SPEC, *changed]}) == 4


def test_stems_are_int16_stereo_of_the_right_length(stems):
    for audio in stems.values():
        assert audio.dtype == np.int16
        assert audio.shape == (6 * SAMPLE_RATE, 2)
        assert audio.any()


def test_the_mixture_is_the_integer_sum_and_leaves_headroom(stems):
    mixture = mix(stems)
    total = sum(stems[stem].astype(np.int64) for stem in STEMS)
    assert np.array_equal(mixture.astype(np.int64), total)
    assert np.abs(mixture.astype(int)).max() <= 0.95 * 32_768


def test_a_sum_that_does_not_fit_is_refused():
    loud = np.full((10, 2), 20_000, dtype=np.int16)
    with pytest.raises(ValueError, match="16 bits"):
        mix({"drums": loud, "bass": loud})


def test_stem_levels_are_where_the_mixing_desk_puts_them(stems):
    for stem, audio in stems.items():
        # The limiter, common to all stems, takes up to about 2 dB more.
        assert abs(loudness(audio / 32_768) - STEM_LUFS[stem]) <= 2 * LUFS_SPREAD + 2.0


def test_loudness_of_a_full_scale_sine_is_known():
    # ITU-R BS.1770: a 997 Hz sine at 0 dBFS in one channel reads -3.01 LUFS.
    t = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    sine = np.stack([np.sin(2 * np.pi * 997 * t), 0 * t], axis=1)
    assert loudness(sine) == pytest.approx(-3.01, abs=0.05)
    assert loudness(np.zeros((SAMPLE_RATE, 2))) == -np.inf


def test_nine_tracks_are_nine_styles():
    for first in (0, 9):
        chosen = [choose_style(replace(SPEC, index=first + k)) for k in range(9)]
        assert sorted(chosen) == sorted(STYLES)


def test_stems_drop_out_in_some_songs_but_play_in_every_one():
    partly = dict.fromkeys(STEMS, 0)
    for index in range(12):
        song = compose(replace(SPEC, index=index, seconds=20.0))
        assert song.drums and song.bass.notes and song.other and song.vocals
        bars = sum(section.n_bars for section in song.sections)
        for stem in STEMS:
            played = sum(section.n_bars for section in song.sections if stem in section.stems)
            assert played >= 0.3 * bars
            partly[stem] += played < bars
    assert all(count >= 2 for count in partly.values())


@pytest.mark.parametrize("seconds", [2.0, 3.0, 8.0])
def test_short_songs_have_all_stems(seconds):
    for index in range(9):
        song = compose(replace(SPEC, index=index, seconds=seconds))
        assert song.drums and song.bass.notes and song.other and song.vocals
        assert all(note.start + note.duration <= seconds + 1e-9 for note in song.bass.notes)


def test_grooves_have_sixteen_steps_and_name_pieces_that_exist():
    for style in STYLES.values():
        for groove in style.drums:
            assert all(len(steps) == 16 and piece in PLACES for piece, steps in groove.items())
        assert all(len(steps) == 16 for steps in (*style.bass, *style.comp, *style.arp))
        assert set(style.kits) <= set(KITS)
        assert set(style.modes) <= set(SCALES)
    assert set(SUNG_CONSONANTS) == set(CONSONANTS)


def test_the_clock_swings_the_off_beat_only():
    clock = Clock(tempo=120.0, swing=2 / 3, swung_step=2)  # a bar lasts 2 s, a beat 0.5 s
    assert clock.time(1, 0) == pytest.approx(2.0)
    assert clock.time(0, 4) == pytest.approx(0.5)
    assert clock.time(0, 2) == pytest.approx(0.5 * 2 / 3)  # triplet feel
    assert clock.time(0, 16) == pytest.approx(2.0)


def test_chords_stack_thirds_of_the_scale():
    assert build_chord(0, SCALES["major"], 0, 4).intervals == (0, 4, 7, 11)  # C E G B
    fifth = build_chord(2, SCALES["major"], 4, 3)  # A major in D major
    assert (fifth.root, fifth.intervals) == (9, (0, 4, 7))


@pytest.mark.parametrize("sound", ["fingered", "picked", "slap", "upright", "synth", "sub", "fm", "dub"])
def test_a_bass_note_has_its_pitch(sound):
    rng = np.random.default_rng(0)
    note = Note(0.1, 1.2, 33.0, 0.8)  # A1 = 55 Hz
    audio = play_notes([note], draw_bass(sound, rng), 2 * SAMPLE_RATE, rng, 0.05)
    assert not audio[: int(0.1 * SAMPLE_RATE)].any()
    frequencies, magnitude = spectrum(audio[int(0.3 * SAMPLE_RATE) : int(1.2 * SAMPLE_RATE)])
    near = (frequencies > 45) & (frequencies < 66)
    assert frequencies[near][magnitude[near].argmax()] == pytest.approx(55.0, abs=1.2)
    # Loud, not a trace: the fundamental or a low harmonic of it holds the spectrum's peak.
    peak = frequencies[magnitude.argmax()]
    assert peak / 55.0 == pytest.approx(round(peak / 55.0), abs=0.05)


def test_a_string_decays_at_the_rate_asked_for():
    wave = string(220.0, 2 * SAMPLE_RATE, sustain=0.5, damping=0.0, brightness=4000.0, pluck=0.3)
    early = np.sqrt(np.mean(wave[4410:8820] ** 2))
    late = np.sqrt(np.mean(wave[4410 + SAMPLE_RATE : 8820 + SAMPLE_RATE] ** 2))
    assert 20 * np.log10(early / late) == pytest.approx(8.686 / 0.5, abs=0.3)  # e-fold per 0.5 s = 8.686 dB


def test_stiff_strings_have_stretched_partials():
    stiffness = 4e-4
    wave = string(200.0, SAMPLE_RATE, sustain=1.0, damping=0.0, brightness=9000.0, pluck=0.13, inharmonicity=stiffness)
    frequencies, magnitude = spectrum(wave)
    expected = 10 * 200.0 * np.sqrt(1 + stiffness * 100)
    near = np.abs(frequencies - expected) < 60
    assert frequencies[near][magnitude[near].argmax()] == pytest.approx(expected, abs=2.0)


@pytest.mark.parametrize("vowel", ["a", "e", "i", "ae"])
def test_a_vowel_has_its_formants(vowel):
    syllable = Syllable(0.1, 1.2, 40.0, 0.9, "", vowel)  # 82 Hz: harmonics close enough to show the envelope
    audio = sing_syllables([syllable], MAN, np.random.default_rng(1), int(1.5 * SAMPLE_RATE))
    middle = audio[int(0.4 * SAMPLE_RATE) : int(1.1 * SAMPLE_RATE)]
    frequencies, power = signal.welch(middle, SAMPLE_RATE, nperseg=8192)
    # A ripple of one pitch period in the spectrum is smoothed away: what is left is the envelope.
    envelope = np.convolve(10 * np.log10(power + 1e-15), np.hanning(31) / np.hanning(31).sum(), "same")
    first, second, _ = VOWEL_FORMANTS[vowel][0]
    for formant in (first, second):
        near = np.abs(frequencies - formant) <= 250
        inside = frequencies[near][envelope[near].argmax()]
        assert inside == pytest.approx(formant, abs=110)


def test_the_voice_sings_the_pitch_and_glides_between_notes():
    line = [Syllable(0.1, 0.5, 57.0, 0.9, "", "a"), Syllable(0.6, 0.6, 60.0, 0.9, "", "a")]
    audio = sing_syllables(line, MAN, np.random.default_rng(1), int(1.4 * SAMPLE_RATE))
    for begin, end, expected in ((0.2, 0.5, 220.0), (0.8, 1.15, 261.6)):
        part = audio[int(begin * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        frequencies, magnitude = spectrum(part)
        near = (frequencies > 180) & (frequencies < 320)
        # Voices drift by a few hundredths of a tone.
        assert frequencies[near][magnitude[near].argmax()] == pytest.approx(expected, rel=0.03)


def test_consonants_hiss_where_they_should():
    def high_share(consonant: str) -> float:
        line = [Syllable(0.3, 0.4, 50.0, 0.9, consonant, "a")]
        audio = sing_syllables(line, MAN, np.random.default_rng(2), SAMPLE_RATE)
        before = audio[int(0.2 * SAMPLE_RATE) : int(0.28 * SAMPLE_RATE)]
        frequencies, magnitude = spectrum(before)
        return float(np.sum(magnitude[frequencies > 5000] ** 2) / np.sum(magnitude**2))

    assert high_share("s") > 0.8
    assert high_share("m") < 0.05
    assert 0.05 < high_share("sh") < high_share("s")


def test_silence_is_silent():
    assert not sing_syllables([], MAN, np.random.default_rng(0), 100).any()


def test_every_piece_of_every_kit_is_finite_and_ends_in_silence():
    rng = np.random.default_rng(0)
    for kit in KITS.values():
        for piece in PLACES:
            sound = strike(piece, kit, rng)
            assert np.isfinite(sound).all()
            assert 0.05 < np.abs(sound).max() < 4.0
            assert abs(sound[-1]) < 1e-6


def test_every_instrument_of_every_style_sounds_and_is_finite():
    rng = np.random.default_rng(0)
    names = {n for style in STYLES.values() for n in (*style.comp_sounds, *style.pad_sounds, *style.arp_sounds)}
    for name in names:
        sound = draw_instrument(name, rng)(440.0, 12_000, 0.8, rng)
        assert sound.shape == (12_000,)
        assert np.isfinite(sound).all()
        assert np.sqrt(np.mean(sound**2)) > 1e-3


def test_equaliser_sections_have_their_gain():
    for section, frequency, expected in (
        (peaking(1000.0, 6.0), 1000.0, 6.0),
        (peaking(1000.0, -4.0), 20.0, 0.0),
        (shelf(200.0, 5.0, high=False), 5.0, 5.0),
        (shelf(200.0, 5.0, high=False), 15_000.0, 0.0),
        (shelf(3000.0, -6.0, high=True), 20_000.0, -6.0),
        (shelf(3000.0, -6.0, high=True), 20.0, 0.0),
    ):
        _, response = signal.sosfreqz(section, [frequency], fs=SAMPLE_RATE)
        assert 20 * np.log10(np.abs(response[0])) == pytest.approx(expected, abs=0.1)


def test_the_compressor_holds_back_what_is_loud():
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    level = np.where(t < 1.0, 0.1, 1.0)
    squeezed = compress(level * np.sin(2 * np.pi * 300 * t), threshold_db=-20.0, ratio=4.0)
    quiet, loud = (
        np.sqrt(np.mean(squeezed[int(a * SAMPLE_RATE) : int((a + 0.4) * SAMPLE_RATE)] ** 2)) for a in (0.5, 1.5)
    )
    # The mean power lies 3 dB below the loud half, so both halves are above the threshold: 20 dB become 20 / 4.
    assert 20 * np.log10(loud / quiet) == pytest.approx(5.0, abs=0.1)


def test_the_limiter_keeps_every_sample_below_its_ceiling():
    rng = np.random.default_rng(0)
    mixture = 0.4 * rng.standard_normal((20_000, 2))
    mixture[5_000] = 3.0
    gain = limiter_gain(mixture, 0.9)
    assert np.abs(mixture * gain[:, None]).max() <= 0.9 + 1e-9
    assert np.all((gain > 0) & (gain <= 1 + 1e-9))
    assert np.all(limiter_gain(0.1 * mixture[:4_000], 0.9) == pytest.approx(1.0))


def test_a_long_string_note_ends_quietly():
    # Nothing of the attack may wrap round to the end, where undoing the spectrum's circle would lift it by 60 dB.
    wave = string(52.0, 3 * SAMPLE_RATE, sustain=0.5, damping=12.0, brightness=290.0, pluck=0.3, slope=2.0)
    assert np.abs(wave[-SAMPLE_RATE // 2 :]).max() < np.exp(-2.5 / 0.5) * 1.5
