"""Four players turn a plan into notes: a drummer, a bassist, a band and a singer."""

import numpy as np

from codec_ft.data.demo.plan import STEPS_PER_BAR, Plan
from codec_ft.data.demo.score import Chord, Hit, Note, Part, Singer, Syllable

CONSONANTS = (
    "s",
    "sh",
    "f",
    "th",
    "h",
    "z",
    "v",
    "p",
    "t",
    "k",
    "b",
    "d",
    "g",
    "ch",
    "m",
    "n",
    "ng",
    "l",
    "r",
    "w",
    "y",
)
VOWELS = ("a", "e", "i", "o", "u", "ae", "er")
STROKE_VELOCITY = {"X": 0.95, "x": 0.7, "o": 0.35}
FILLS = (
    {"snare": "........x.x.X.XX"},
    {"tom_high": "........xx......", "tom_mid": "..........xx....", "tom_low": "............XxXx"},
    {"snare": "............xxXX", "kick": "........x.x....."},
    {"snare": "......x.x.......", "tom_high": "..........x.....", "tom_low": "............X.X."},
)
# Rhythms of a sung two-bar phrase, in steps; what is left of the 32 steps is breath.
RHYTHM_CELLS = ((4, 4), (2, 2, 4), (4, 2, 2), (3, 3, 2), (2, 4, 2), (6, 2), (2, 2, 2, 2), (8,), (3, 1, 4), (1, 1, 2, 4))


def _humanise(
    rng: np.random.Generator, time: float, velocity: float, jitter: float, feel: float
) -> tuple[float, float]:
    """A played time (seconds, never negative) and velocity: the player's feel plus random scatter."""
    return max(0.0, time + feel + rng.normal(0.0, jitter)), float(np.clip(velocity * rng.normal(1.0, 0.09), 0.08, 1.0))


def play_drums(rng: np.random.Generator, plan: Plan) -> tuple[str, tuple[Hit, ...]]:
    """Choose a kit and play its grooves with fills at section ends. Returns the kit's name and the hits."""
    kit = str(rng.choice(plan.style.kits))
    machine = kit in ("eight", "nine", "machine")
    jitter, feel = (0.001, 0.0) if machine else (rng.uniform(0.003, 0.007), rng.normal(0.0, 0.004))
    grooves = {section.name: plan.style.drums[rng.integers(len(plan.style.drums))] for section in plan.sections}
    hits = []
    for bar, section in plan.bars_of("drums"):
        groove = dict(grooves[section.name])
        last = bar == section.first_bar + section.n_bars - 1
        if last and rng.random() < 0.6:
            fill = FILLS[rng.integers(len(FILLS))]
            groove = {piece: steps[:8] + "." * 8 for piece, steps in groove.items()}
            groove |= {piece: groove.get(piece, "." * 16)[:8] + steps[8:] for piece, steps in fill.items()}
        if bar == section.first_bar and rng.random() < 0.6:
            groove["crash"] = "X" + "." * 15
        for piece, steps in groove.items():
            for step, mark in enumerate(steps):
                if mark == "." or (mark == "o" and rng.random() < 0.25):
                    continue
                loudness = STROKE_VELOCITY[mark] * (0.75 + 0.25 * section.energy)
                time, velocity = _humanise(rng, plan.clock.time(bar, step), loudness, jitter, feel)
                hits.append(Hit(time, piece, velocity))
    return kit, tuple(hit for hit in hits if hit.time < plan.seconds)


def _pattern_spans(pattern: str) -> list[tuple[int, int, str]]:
    """Split a groove string into (step, length in steps, mark); `-` holds the mark before it."""
    spans: list[tuple[int, int, str]] = []
    for step, mark in enumerate(pattern):
        if mark == "-" and spans and spans[-1][0] + spans[-1][1] == step:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1, spans[-1][2])
        elif mark not in "-.":
            spans.append((step, 1, mark))
    return spans


def _note(
    rng: np.random.Generator, plan: Plan, bar: int, step: int, length: float, pitch: float, velocity: float
) -> Note:
    """One played note. A length in steps becomes seconds, a little short of the next step."""
    time, loudness = _humanise(rng, plan.clock.time(bar, step), velocity, 0.004, 0.0)
    return Note(
        time, max(0.05, (plan.clock.time(bar, step + length) - plan.clock.time(bar, step)) * 0.93), pitch, loudness
    )


def _inside(notes: list[Note], seconds: float) -> tuple[Note, ...]:
    """Drop what starts after the end and cut what rings over it."""
    return tuple(
        Note(n.start, min(n.duration, seconds - n.start), n.pitch, n.velocity)
        for n in notes
        if n.start < seconds - 0.02
    )


def play_bass(rng: np.random.Generator, plan: Plan) -> Part:
    """Choose a bass and one line per kind of section."""
    sound = str(rng.choice(plan.style.bass_sounds))
    lowest = 24 if sound == "sub" else 28
    lines = {section.name: str(rng.choice(plan.style.bass)) for section in plan.sections}
    notes: list[Note] = []
    for bar, section in plan.bars_of("bass"):
        chord, following = plan.chords[bar], plan.chords[min(bar + 1, len(plan.chords) - 1)]
        root = lowest + (chord.root - lowest) % 12
        target = lowest + (following.root - lowest) % 12
        tones = {"R": root, "3": root + chord.intervals[1], "5": root + chord.intervals[2], "O": root + 12}
        tones["7"] = root + (chord.intervals[3] if len(chord.intervals) > 3 else 10)
        tones["a"] = target + (1 if rng.random() < 0.3 else -1)
        for step, length, mark in _pattern_spans(lines[section.name]):
            loudness = (0.85 if step % 4 == 0 else 0.7) * (0.8 + 0.2 * section.energy)
            notes.append(_note(rng, plan, bar, step, length, tones[mark], loudness))
    return Part(sound, _inside(notes, plan.seconds))


def _voicing(chord: Chord, lowest: int, previous: list[int]) -> list[int]:
    """The chord's tones at or above `lowest`, inverted so that they lie nearest to the voicing before."""
    tones = sorted(lowest + (chord.root + interval - lowest) % 12 for interval in chord.intervals)
    inversions = [tones[k:] + [tone + 12 for tone in tones[:k]] for k in range(len(tones))]
    if not previous:
        return tones
    return min(inversions, key=lambda voicing: abs(float(np.mean(voicing)) - float(np.mean(previous))))


def play_other(rng: np.random.Generator, plan: Plan) -> tuple[Part, ...]:
    """Two or three of: rhythm chords, a pad, an arpeggio or riff. Parts come and go with the sections."""
    style = plan.style
    comp, pad, arp = (
        str(rng.choice(style.comp_sounds)),
        str(rng.choice(style.pad_sounds)),
        str(rng.choice(style.arp_sounds)),
    )
    patterns = {section.name: str(rng.choice(style.comp)) for section in plan.sections}
    riffs = {section.name: str(rng.choice(style.arp)) for section in plan.sections}
    roles = {
        section.name: ("comp", *(role for role in ("pad", "arp") if rng.random() < 0.55)) for section in plan.sections
    }
    lowest = int(rng.integers(50, 58))
    notes: dict[str, list[Note]] = {"comp": [], "pad": [], "arp": []}
    voicing: list[int] = []
    for bar, section in plan.bars_of("other"):
        voicing = _voicing(plan.chords[bar], lowest, voicing)
        active = roles[section.name]
        loudness = 0.65 + 0.25 * section.energy
        for step, length, mark in _pattern_spans(patterns[section.name]):
            tones = [voicing[0] - 12, voicing[0] - 12 + 7, *voicing] if comp == "distorted_guitar" else voicing
            tones = tones[:3] if comp == "distorted_guitar" else tones
            for k, tone in enumerate(tones):
                note = _note(rng, plan, bar, step, length, tone, loudness * (1.0 if mark == "X" else 0.8))
                strum = 0.012 * k if "guitar" in comp else 0.0
                notes["comp"].append(Note(note.start + strum, note.duration, note.pitch, note.velocity))
        if "pad" in active:
            notes["pad"] += [
                _note(rng, plan, bar, 0, 16.3, tone + 12 * (k == 0), 0.5) for k, tone in enumerate(voicing)
            ]
        if "arp" in active or ("vocals" not in section.stems and rng.random() < 0.7):
            high = [*voicing, voicing[0] + 12]
            for step, length, mark in _pattern_spans(riffs[section.name]):
                tone = high[min(int(mark), len(high) - 1)] + 12
                notes["arp"].append(_note(rng, plan, bar, step, max(length, 2), tone, loudness))
    sounds = {"comp": comp, "pad": pad, "arp": arp}
    return tuple(Part(sounds[role], _inside(played, plan.seconds)) for role, played in notes.items() if played)


def draw_singer(rng: np.random.Generator) -> Singer:
    """A voice: range, vocal tract, breath, vibrato and effort."""
    female = bool(rng.random() < 0.5)
    return Singer(
        female=female,
        lowest=int(rng.integers(56, 61) if female else rng.integers(44, 50)),
        tract=float(rng.uniform(0.94, 1.07)),
        breath=float(rng.beta(1.5, 3.0)),
        vibrato=float(rng.uniform(0.2, 1.0)),
        effort=float(rng.uniform(0.3, 1.0)),
    )


def _phrase_rhythm(rng: np.random.Generator, n_steps: int, per_beat: float) -> list[tuple[int, int]]:
    """(step, length) of the syllables of a phrase: cells as dense as the style sings, then a rest to breathe."""
    density = np.array([len(cell) / (sum(cell) / 4) for cell in RHYTHM_CELLS])
    weights = np.exp(-((density - per_beat) ** 2) / 0.8)
    spans: list[tuple[int, int]] = []
    step = int(rng.choice((0, 0, 2, 4)))
    end = n_steps - int(rng.choice((2, 4, 6)))
    while step < end:
        for length in RHYTHM_CELLS[rng.choice(len(RHYTHM_CELLS), p=weights / weights.sum())]:
            if step < end:
                spans.append((step, min(length, end - step)))
            step += length
    return spans


def _sing_phrase(
    rng: np.random.Generator, plan: Plan, singer: Singer, bar: int, n_bars: int, energy: float
) -> list[Syllable]:
    """One phrase: a walk over the scale that comes to rest on chord tones, with a syllable to each note."""
    ladder = [p for p in range(singer.lowest, singer.lowest + 20) if (p - plan.key) % 12 in plan.scale]
    place = int(len(ladder) * (0.25 + 0.4 * energy * rng.random()))
    syllables = []
    spans = _phrase_rhythm(rng, n_bars * STEPS_PER_BAR, plan.style.syllables_per_beat)
    for number, (step, length) in enumerate(spans):
        place += int(rng.choice((-2, -1, -1, 0, 0, 1, 1, 2, 3 if energy > 0.8 else -3)))
        place = int(np.clip(place, 0, len(ladder) - 1))
        chord = plan.chords[min(bar + step // STEPS_PER_BAR, len(plan.chords) - 1)]
        tones = {(chord.root + interval) % 12 for interval in chord.intervals}
        if step % 8 == 0 or number == len(spans) - 1:
            distances = [abs(i - place) if pitch % 12 in tones else len(ladder) for i, pitch in enumerate(ladder)]
            place = int(np.argmin(distances))
        here, inside = bar + step // STEPS_PER_BAR, step % STEPS_PER_BAR
        start = plan.clock.time(here, inside)
        duration = plan.clock.time(here, inside + length) - start
        start, velocity = _humanise(rng, start, 0.7 + 0.25 * energy, 0.01, 0.005)
        consonant = "" if number and rng.random() < 0.12 else str(rng.choice(CONSONANTS))
        syllables.append(Syllable(start, duration, ladder[place], velocity, consonant, str(rng.choice(VOWELS))))
    return syllables


def sing(rng: np.random.Generator, plan: Plan) -> tuple[Singer, tuple[Syllable, ...], tuple[Syllable, ...]]:
    """A singer, the lead line, and a second voice a third above in the choruses of some songs (else empty)."""
    singer = draw_singer(rng)
    with_harmony = rng.random() < 0.4
    lead: list[Syllable] = []
    harmony: list[Syllable] = []
    for section in plan.sections:
        if "vocals" not in section.stems:
            continue
        bar, end = section.first_bar, section.first_bar + section.n_bars
        while bar < end:
            n_bars = min(2, end - bar)
            phrase = _sing_phrase(rng, plan, singer, bar, n_bars, section.energy)
            lead += phrase
            if with_harmony and section.name == "chorus":
                harmony += [_third_above(plan, syllable) for syllable in phrase]
            bar += n_bars
    return singer, _sung_inside(lead, plan.seconds), _sung_inside(harmony, plan.seconds)


def _third_above(plan: Plan, syllable: Syllable) -> Syllable:
    """The same syllable two steps of the scale higher."""
    pitch, steps = syllable.pitch, 0
    while steps < 2:
        pitch += 1
        steps += (int(pitch) - plan.key) % 12 in plan.scale
    return Syllable(syllable.start, syllable.duration, pitch, syllable.velocity, syllable.consonant, syllable.vowel)


def _sung_inside(syllables: list[Syllable], seconds: float) -> tuple[Syllable, ...]:
    """Drop syllables that start at the very end and shorten what reaches over it."""
    return tuple(
        Syllable(s.start, min(s.duration, seconds - s.start), s.pitch, s.velocity, s.consonant, s.vowel)
        for s in syllables
        if s.start < seconds - 0.1
    )
