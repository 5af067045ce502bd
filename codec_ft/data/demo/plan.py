"""Plan a song: style, key, tempo, form and harmony, and the clock that places steps of a bar in time."""

import math
from dataclasses import dataclass, replace

import numpy as np

from codec_ft.data.demo.score import STEMS, Chord, Section, TrackSpec
from codec_ft.data.demo.styles import SCALES, STYLES, Style

STEPS_PER_BAR = 16
MIN_SHARE = 0.4  # of the bars, in which each stem plays at least
# Where stems drop out. Each entry: what the section is called, its energy, and sets of stems to draw from.
FORM: dict[str, tuple[float, tuple[str, ...]]] = {
    "intro": (0.5, ("other", "drums", "drums bass", "bass other", "drums other", "drums bass other")),
    "verse": (0.65, ("drums bass other vocals", "drums bass other vocals", "drums bass vocals", "bass other vocals")),
    "chorus": (0.95, ("drums bass other vocals",)),
    "break": (0.55, ("other vocals", "drums bass", "drums vocals", "drums other", "vocals", "drums bass other")),
}
FORMS = (
    ("intro", "verse", "chorus", "break", "chorus"),
    ("verse", "chorus", "break", "verse", "chorus"),
    ("chorus", "verse", "break", "chorus"),
    ("intro", "chorus", "verse", "chorus", "break"),
    ("verse", "break", "chorus", "verse", "chorus"),
)


@dataclass(frozen=True)
class Clock:
    """Places bars and steps (sixteenths) in seconds. `swing` delays every second step of size `swung_step`."""

    tempo: float
    swing: float
    swung_step: int

    @property
    def bar(self) -> float:
        """Length of a bar of 4/4 in seconds."""
        return 240.0 / self.tempo

    def time(self, bar: int, step: float) -> float:
        """Seconds at which `step` (0-16, may be fractional) of `bar` falls."""
        pair = 2.0 * self.swung_step
        whole, inside = divmod(step, pair)
        inside /= pair
        bent = inside * self.swing * 2 if inside < 0.5 else self.swing + (inside - 0.5) * (1 - self.swing) * 2
        return self.bar * (bar + (whole + bent) * pair / STEPS_PER_BAR)


@dataclass(frozen=True)
class Plan:
    """A song without notes: everything the players need to agree on."""

    style: Style
    key: int
    scale: tuple[int, ...]
    clock: Clock
    sections: tuple[Section, ...]
    chords: tuple[Chord, ...]
    seconds: float

    def bars_of(self, stem: str) -> list[tuple[int, Section]]:
        """The bars in which a stem plays, with their sections."""
        return [
            (bar, section)
            for section in self.sections
            if stem in section.stems
            for bar in range(section.first_bar, section.first_bar + section.n_bars)
        ]


def choose_style(spec: TrackSpec) -> str:
    """The style of a track: every run of nine tracks of a split holds each style once, in a shuffled order."""
    names = list(STYLES)
    cycle, position = divmod(spec.index, len(names))
    rng = TrackSpec(spec.seed, spec.split, cycle, 0.0).generator("order of styles")
    return names[rng.permutation(len(names))[position]]


def draw_sections(rng: np.random.Generator, n_bars: int) -> tuple[Section, ...]:
    """Fill `n_bars` with sections. At least one section has all stems; each stem plays in 40 % of the bars or more."""
    unit = 1 if n_bars < 6 else 2 if n_bars < 16 else 4
    form = FORMS[rng.integers(len(FORMS))]
    sections: list[Section] = []
    bar = 0
    while bar < n_bars:
        name = form[len(sections) % len(form)]
        length = unit * int(rng.choice((1, 2) if name in ("verse", "chorus") else (1, 1, 2)))
        energy, choices = FORM[name]
        stems = frozenset(str(rng.choice(choices)).split())
        sections.append(Section(name, bar, min(length, n_bars - bar), stems, energy))
        bar += length
    full = [section for section in sections if section.stems == set(STEMS)]
    if not full:
        longest = max(range(len(sections)), key=lambda i: sections[i].n_bars)
        sections[longest] = replace(sections[longest], stems=frozenset(STEMS))
    for stem in STEMS:
        while sum(section.n_bars for section in sections if stem in section.stems) < MIN_SHARE * n_bars:
            silent = [i for i, section in enumerate(sections) if stem not in section.stems]
            longest = max(silent, key=lambda i: sections[i].n_bars)
            sections[longest] = replace(sections[longest], stems=sections[longest].stems | {stem})
    return tuple(sections)


def build_chord(key: int, scale: tuple[int, ...], degree: int, size: int) -> Chord:
    """Stack `size` thirds of the scale on one of its degrees (0-6)."""
    tones = [scale[(degree + 2 * k) % 7] + 12 * ((degree + 2 * k) // 7) for k in range(size)]
    return Chord((key + tones[0]) % 12, tuple(tone - tones[0] for tone in tones))


def plan_song(spec: TrackSpec) -> tuple[Plan, str, str]:
    """Draw what all players share. Returns the plan, the style's name and the mode's name."""
    rng = spec.generator("plan")
    name = choose_style(spec)
    style = STYLES[name]
    mode = str(rng.choice(style.modes))
    key = int(rng.integers(12))
    clock = Clock(round(float(rng.uniform(*style.tempo))), float(rng.uniform(*style.swing)), style.swung_step)
    # A bar that the end cuts short belongs to the last section: the form counts whole bars.
    sections = draw_sections(rng, max(1, math.floor(spec.seconds / clock.bar)))
    rest = math.ceil(spec.seconds / clock.bar) - sections[-1].first_bar
    sections = (*sections[:-1], replace(sections[-1], n_bars=rest))
    progressions = {section: style.progressions[rng.integers(len(style.progressions))] for section in FORM}
    chords = []
    for section in sections:
        degrees = progressions[section.name]
        chords += [
            build_chord(key, SCALES[mode], degrees[bar % len(degrees)], style.chord_size)
            for bar in range(section.n_bars)
        ]
    return Plan(style, key, SCALES[mode], clock, sections, tuple(chords), spec.seconds), name, mode
