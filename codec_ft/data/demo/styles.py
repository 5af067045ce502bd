"""The nine styles: tempo, harmony, grooves and instruments that the composer draws from.

Grooves are strings of sixteen steps, one bar of 4/4. Drums: `X` accent, `x` stroke, `o` ghost stroke, `.` nothing.
Bass: `R` root, `3`, `5`, `7` chord tones, `O` octave, `a` step into the next chord, `-` hold, `.` rest.
Chords: `X`/`x` strike, `-` hold, `.` rest. Arpeggios: a digit picks a chord tone from the lowest up.
"""

from dataclasses import dataclass

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}

BRIGHT = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 3), (3, 4, 5, 0), (0, 2, 3, 4), (5, 3, 0, 4))
DARK = ((0, 5, 2, 6), (0, 6, 5, 4), (0, 3, 5, 6), (0, 2, 6, 3), (0, 5, 3, 4), (0, 0, 5, 6))
JAZZ = ((1, 4, 0, 5), (0, 5, 1, 4), (2, 5, 1, 4), (0, 3, 1, 4))
VAMP = ((0, 0, 3, 3), (0, 3, 0, 3), (0, 0, 0, 4), (0, 6, 3, 3))


@dataclass(frozen=True)
class Style:
    """What one style draws from. `swing` is where the off-beat falls in its pair of steps (.5: straight)."""

    tempo: tuple[float, float]
    modes: tuple[str, ...]
    progressions: tuple[tuple[int, ...], ...]
    chord_size: int
    swing: tuple[float, float]
    swung_step: int
    kits: tuple[str, ...]
    drums: tuple[dict[str, str], ...]
    bass_sounds: tuple[str, ...]
    bass: tuple[str, ...]
    comp_sounds: tuple[str, ...]
    comp: tuple[str, ...]
    pad_sounds: tuple[str, ...]
    arp_sounds: tuple[str, ...]
    arp: tuple[str, ...]
    syllables_per_beat: float


STYLES: dict[str, Style] = {
    "pop": Style(
        tempo=(92, 126),
        modes=("major", "major", "minor"),
        progressions=BRIGHT + DARK[:3],
        chord_size=3,
        swing=(0.5, 0.52),
        swung_step=1,
        kits=("studio", "tight", "machine"),
        drums=(
            {"kick": "X.......X.x.....", "snare": "....X.......X...", "hat": "X.x.X.x.X.x.X.x."},
            {
                "kick": "X..x....X..x..x.",
                "snare": "....X.......X...",
                "hat": "xoxoxoxoxoxoxox.",
                "tambourine": "....x.......x...",
            },
            {
                "kick": "X.....x.x.x.....",
                "clap": "....X.......X...",
                "hat": "x.x.x.x.x.x.x...",
                "hat_open": "..............x.",
            },
        ),
        bass_sounds=("fingered", "picked", "synth", "fm"),
        bass=("R---R-R-R---R-5-", "R-R-R-R-R-R-R-a-", "R--R--R-R--R--5a", "R-------R---5-a-"),
        comp_sounds=("piano", "electric_piano", "acoustic_guitar", "clean_guitar"),
        comp=("X---x---X---x---", "X--x--x-X--x--x-", "X-------x-------", "..x-..x-..x-..x-"),
        pad_sounds=("strings", "warm_pad"),
        arp_sounds=("pluck", "clean_guitar", "marimba"),
        arp=("0.1.2.1.3.2.1.2.", "0.2.1.3.0.2.1.3.", "....3.2.....1.2."),
        syllables_per_beat=1.6,
    ),
    "rock": Style(
        tempo=(104, 156),
        modes=("minor", "mixolydian", "major"),
        progressions=DARK + BRIGHT[:3],
        chord_size=3,
        swing=(0.5, 0.51),
        swung_step=1,
        kits=("rock", "studio"),
        drums=(
            {"kick": "X.....x.X.x.....", "snare": "....X.......X...", "hat": "X.x.X.x.X.x.X.x."},
            {"kick": "X.x.....X.x...x.", "snare": "....X.......X...", "ride": "X.x.X.x.X.x.X.x."},
            {"kick": "X..x..x.X..x..x.", "snare": "....X.......X..o", "hat_open": "X...X...X...X..."},
        ),
        bass_sounds=("picked", "picked", "fingered"),
        bass=("R-R-R-R-R-R-R-R-", "R-R-R-R-R-R-5-a-", "R---R-R-R---R-R-", "R--R--R-R--R--O-"),
        comp_sounds=("distorted_guitar", "distorted_guitar", "clean_guitar"),
        comp=("X-x-x-x-X-x-x-x-", "X---------------", "X--x--x-X--x--x-", "X-..x-x-X-..x-x-"),
        pad_sounds=("organ", "distorted_guitar"),
        arp_sounds=("clean_guitar", "lead", "distorted_guitar"),
        arp=("0.2.1.2.3.2.1.2.", "3-------2---1---", "0.0.2.0.0.3.2.0."),
        syllables_per_beat=1.4,
    ),
    "funk": Style(
        tempo=(92, 116),
        modes=("dorian", "mixolydian", "minor"),
        progressions=VAMP,
        chord_size=4,
        swing=(0.51, 0.58),
        swung_step=1,
        kits=("tight", "studio"),
        drums=(
            {"kick": "X.x....x..x..x..", "snare": "....X..o.o..X..o", "hat": "xoxoxoxoxoxoxoxo"},
            {
                "kick": "X..x..x...x..x..",
                "snare": "....X.o..o.oX...",
                "hat": "x.xxx.xxx.xxx.x.",
                "hat_open": "..............x.",
            },
            {
                "kick": "X.....x..xx.....",
                "snare": "..o.X..o.o..X.o.",
                "hat": "xoxoxoxoxoxoxoxo",
                "conga": "..x..x....x..xx.",
            },
        ),
        bass_sounds=("slap", "fingered", "synth"),
        bass=("R..O..R.7.R.5.7a", "R-.R..O.R-.7..5a", "R..R.R.O....7.5.", "R.O.R..7-.5.R.a."),
        comp_sounds=("clavinet", "muted_guitar", "electric_piano", "organ"),
        comp=("..x.x..x..x.x.x.", ".xx..xx..xx..x.x", "x..x..x...x..x..", "....x..x....x.x."),
        pad_sounds=("organ", "brass"),
        arp_sounds=("brass", "muted_guitar"),
        arp=("0.0..2.0..3.2...", "........3.3.2...", "0..0..1.0..0..2."),
        syllables_per_beat=1.9,
    ),
    "reggae": Style(
        tempo=(68, 86),
        modes=("minor", "major", "dorian"),
        progressions=VAMP + BRIGHT[:2],
        chord_size=3,
        swing=(0.53, 0.6),
        swung_step=1,
        kits=("tight", "studio"),
        drums=(
            {"kick": "........X.......", "rim": "........X.......", "hat": "x.xox.x.x.xox.x."},
            {
                "kick": "X.......X.......",
                "snare": "........X.....o.",
                "hat": "..x...x...x...x.",
                "shaker": "xoxoxoxoxoxoxoxo",
            },
            {"kick": "X...X...X...X...", "rim": "....x..x....x...", "hat": "x.xxx.x.x.xxx.x."},
        ),
        bass_sounds=("fingered", "dub"),
        bass=("R--.R-3-5-..5-3-", "....R-R-3-5-..R-", "R-..5-R-..R-3-5-", "R---..5-R---..a-"),
        comp_sounds=("muted_guitar", "organ", "piano"),
        comp=("..x...x...x...x.", "....x.......x...", "..xx..xx..xx..xx"),
        pad_sounds=("organ",),
        arp_sounds=("brass", "clean_guitar", "organ"),
        arp=("........0.1.2...", "0.2.........3.2.", "..0.0.....2.2..."),
        syllables_per_beat=2.0,
    ),
    "hip-hop": Style(
        tempo=(74, 98),
        modes=("minor", "minor", "dorian"),
        progressions=DARK + VAMP[:2],
        chord_size=4,
        swing=(0.5, 0.6),
        swung_step=1,
        kits=("eight", "dusty", "machine"),
        drums=(
            {"kick": "X..x...x..X.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.xx"},
            {
                "kick": "X......x..x...x.",
                "clap": "....X.......X...",
                "hat": "xxxxx.xxx.xxxxxx",
                "hat_open": "......x.........",
            },
            {
                "kick": "X.x.......X..x..",
                "snare": "....X..o....X..o",
                "hat": "x.xxx.x.x.xxx.x.",
                "shaker": "o.o.o.o.o.o.o.o.",
            },
        ),
        bass_sounds=("sub", "sub", "fingered", "fm"),
        bass=("R-----..R---5-..", "R------R..R-----", "R--.R-..R-----a-", "R---......O-R---"),
        comp_sounds=("electric_piano", "piano", "pluck", "vibraphone"),
        comp=("X---------------", "X-----x---------", "x--x--x---x-----"),
        pad_sounds=("warm_pad", "strings"),
        arp_sounds=("pluck", "vibraphone", "piano"),
        arp=("3..2..1.0..1..2.", "0-..2-..3---....", "3.3.2.2.1.1.0..."),
        syllables_per_beat=2.4,
    ),
    "edm": Style(
        tempo=(118, 132),
        modes=("minor", "major", "minor"),
        progressions=DARK + BRIGHT,
        chord_size=3,
        swing=(0.5, 0.5),
        swung_step=1,
        kits=("nine", "machine"),
        drums=(
            {
                "kick": "X...X...X...X...",
                "clap": "....X.......X...",
                "hat_open": "..x...x...x...x.",
                "hat": "xoxoxoxoxoxoxoxo",
            },
            {
                "kick": "X...X...X...X..x",
                "clap": "....X.......X...",
                "hat": "..x...x...x..xx.",
                "shaker": "xoxoxoxoxoxoxoxo",
            },
            {
                "kick": "X..x..x.X..x..x.",
                "snare": "....X.......X...",
                "hat": "x.x.x.x.x.x.x.x.",
                "ride": "..x...x...x...x.",
            },
        ),
        bass_sounds=("synth", "reese", "fm", "sub"),
        bass=("..R-..R-..R-..R-", "R.R.R.R.R.R.R.R.", ".RRR.RRR.RRR.RRR", "R--R--R-R--R--R-"),
        comp_sounds=("super_saw", "pluck", "piano"),
        comp=("X--x--x-X--x--x-", "..x-..x-..x-..x-", "X-----x---x-----"),
        pad_sounds=("warm_pad", "strings", "super_saw"),
        arp_sounds=("pluck", "super_saw", "lead"),
        arp=("0123012301230123", "0.2.3.2.0.2.3.2.", "3.32.21.1.12.23."),
        syllables_per_beat=1.2,
    ),
    "swing": Style(
        tempo=(120, 184),
        modes=("major", "dorian", "mixolydian"),
        progressions=JAZZ,
        chord_size=4,
        swing=(0.62, 0.68),
        swung_step=2,
        kits=("jazz",),
        drums=(
            {
                "ride": "X...x.x.X...x.x.",
                "hat": "....x.......x...",
                "kick": "o...o...o...o...",
                "snare": "......o.......o.",
            },
            {
                "ride": "X...x.x.X...x.x.",
                "hat": "....x.......x...",
                "kick": "o.......o.....x.",
                "snare": "..o.......o.x...",
            },
            {"brush": "X.x.X.x.X.x.X.x.", "hat": "....x.......x...", "kick": "o...o...o...o..."},
        ),
        bass_sounds=("upright",),
        bass=("R---3---5---a---", "R---5---3---a---", "R---3---5---7-a-", "R---7---5---a---"),
        comp_sounds=("piano", "archtop_guitar"),
        comp=("x-....x.......x.", "..x-......x.....", "x.....x-....x-..", "x.--x.--x.--x.--"),
        pad_sounds=("brass", "organ"),
        arp_sounds=("brass", "vibraphone", "piano", "lead"),
        arp=("0.1.2.3.2---....", "....3.2.1.2.0...", "3---..2.3.1.0---"),
        syllables_per_beat=1.2,
    ),
    "bossa": Style(
        tempo=(108, 140),
        modes=("major", "minor", "dorian"),
        progressions=JAZZ,
        chord_size=4,
        swing=(0.5, 0.52),
        swung_step=1,
        kits=("jazz", "tight"),
        drums=(
            {"rim": "x..x..x...x..x..", "kick": "X..xX..xX..xX..x", "hat": "xoxoxoxoxoxoxoxo"},
            {"rim": "x..x...x..x..x..", "kick": "X..xX..xX..xX..x", "shaker": "XoxoXoxoXoxoXoxo"},
            {"brush": "x.xox.x.x.xox.x.", "kick": "o..xo..xo..xo..x", "conga": "..x...xx..x...xx"},
        ),
        bass_sounds=("upright", "fingered"),
        bass=("R--R5--5R--R5--a", "R--.5---5--.R---", "R-----5-5-----R-"),
        comp_sounds=("nylon_guitar", "nylon_guitar", "electric_piano"),
        comp=("x-x-..x-.x-.x-..", "x-..x-.x-..x-.x-", "x--x--x-..x--x--"),
        pad_sounds=("strings", "warm_pad"),
        arp_sounds=("vibraphone", "piano", "lead"),
        arp=("3---..2.1---....", "..0.1.2.3-------", "2--1--0-........"),
        syllables_per_beat=1.1,
    ),
    "ballad": Style(
        tempo=(60, 80),
        modes=("major", "minor"),
        progressions=BRIGHT + DARK[:3],
        chord_size=3,
        swing=(0.5, 0.54),
        swung_step=1,
        kits=("studio", "dusty", "rock"),
        drums=(
            {"kick": "X.......x.x.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
            {
                "kick": "X......xX.......",
                "rim": "....x.......x...",
                "hat": "x.x.x.x.x.x.x.x.",
                "shaker": "xoxoxoxoxoxoxoxo",
            },
            {"kick": "X.........x.....", "snare": "........X.......", "ride": "x.x.x.x.x.x.x.x."},
        ),
        bass_sounds=("fingered", "upright", "synth"),
        bass=("R-----R-5-------", "R-------R---5-a-", "R---5---O---5-a-", "R---------------"),
        comp_sounds=("piano", "acoustic_guitar", "electric_piano"),
        comp=("X---x---x---x---", "X-------x-------", "X-x-x-x-X-x-x-x-"),
        pad_sounds=("strings", "warm_pad", "organ"),
        arp_sounds=("acoustic_guitar", "piano", "vibraphone"),
        arp=("0.1.2.1.3.1.2.1.", "0.2.3.2.0.2.3.2.", "....3---2---1---"),
        syllables_per_beat=1.6,
    ),
}
