"""What the cards of all models that draw a stem out of an input say alike, and what keeps one from being shipped."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from codec_ft.codecs.load import codec_names
from codec_ft.data.separators.stand_ins.kinds import STAND_INS
from codec_ft.data.tracks import SEPARATED
from codec_ft.encoded.layout import encode_command
from codec_ft.errors import UserError
from codec_ft.training.cards import METRICS_HEAD, data_line, metric_cells
from codec_ft.training.provenance import composed_data
from codec_ft.training.stem_config import StemConfig

LARGEST_MB = 8
"""What lies in a repository is fetched by everybody who clones it."""
NOT_GOOD_FOR = (
    "Not good for music that was not made by the demo composer: its songs are all it knows, and of real recordings it "
    "keeps little. Nothing above {limit} Hz is heard, stereo is two times mono, and however well it hears, what comes "
    "out sounds as the codec does. It is there to try things out, and to start from."
)
READINGS = {
    "copy_input": "copying the input's codes",
    "majority": "always the commonest code",
    "idempotence": "the codec, coding its own output",
}
"""Rows of the table of codes behind the model's own: what they are called in results, and in words."""


def check_can_ship(run: Path, config: StemConfig) -> None:
    """Refuse a run that is of no use elsewhere.

    Raises:
        UserError: the codec has no name that others know, or a song was learnt by heart.
    """
    if config.codec not in codec_names():
        raise UserError(
            f"{run}: its codec {config.codec} lies in a folder of this machine. What is shipped needs a codec that "
            f"everybody has: {', '.join(codec_names())}."
        )
    if config.data.scope != "set":
        raise UserError(f"{run}: has learnt one {config.data.scope} by heart. Ship a run with data.scope=set.")


def check_free(folder: Path, read_facts: Callable[[Path], object], what: str) -> None:
    """Refuse to replace what is not of the same kind.

    Args:
        folder: where a model is to go.
        read_facts: raises UserError for a folder that holds something else.
        what: would be replaced, in words.
    """
    if folder.is_dir() and any(folder.iterdir()):
        try:
            read_facts(folder)
        except UserError as error:
            raise UserError(f"{folder}: is not empty and holds no {what}. Choose another folder.") from error


def check_size(name: str, weights: Iterable[Tensor]) -> None:
    """Refuse weights that are too large in half precision.

    Raises:
        UserError: how large they are.
    """
    megabytes = 2 * sum(weight.numel() for weight in weights) / 1e6
    if megabytes > LARGEST_MB:
        raise UserError(
            f"{name}: has {megabytes:.1f} MB of weights in half precision, more than the {LARGEST_MB} MB that are "
            "shipped. Use it from its run folder, or train a smaller one."
        )


def composed_sets(config: StemConfig, what: str) -> list[dict[str, Any]]:
    """How each of the data sets of a training was made (see `composed_data`)."""
    return [
        composed_data(config.model_copy(update={"data": config.data.model_copy(update={"root": root})}), what)
        for root in (config.data.root, *config.data.extra)
    ]


def portable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of `training_facts` that works in any clone, where data sets lie in `data/`."""
    data = dict(settings["data"])
    data["root"] = f"data/{data['root']}"
    if "extra" in data:
        data["extra"] = [f"data/{name}" for name in data["extra"]]
    return copy.deepcopy({**settings, "data": data})


def made_lines(
    settings: Mapping[str, Any], composed: Sequence[Mapping[str, Any]], *, stems: Sequence[str], hears: bool = True
) -> list[str]:
    """The commands before the training: data, separated stems, and latents where they are stored.

    Args:
        settings: of `training_facts`.
        composed: of `composed_sets`.
        stems: that are learnt.
        hears: whether the input is read in training.
    """
    data = settings["data"]
    names = [data["root"], *data["extra"]]
    inputs = list(dict.fromkeys([*(settings["train_inputs"] or [settings["input"]]), *settings["context"]]))
    sources = [*inputs, settings["input"]]
    separators = sorted({source.partition("/")[2] for source in sources if source.startswith(f"{SEPARATED}/")})
    options = "" if set(separators) & set(STAND_INS) else " --no-separators"
    lines = [data_line(made, name, options) for name, made in zip(names, composed, strict=True)]
    lines += [
        f"- Separated stems: `python scripts/prepare_data.py separate --with {separator} --root data/{name}`"
        for name, made in zip(names, composed, strict=True)
        for separator in separators
        if separator not in STAND_INS or made["generator"] != "demo"  # which come with their stems
    ]
    if data["encoded"]:
        cut = {key: None if data["whole"] else data[key] for key in ("seconds", "grid_seconds")}
        heard = inputs if hears else []
        lines += [
            f"- Latents: `{encode_command(Path('data', name), settings['codec'], stems, heard, ['train'], **cut)}`"
            for name in names
        ]
    return lines


def heard_words(facts: Mapping[str, Any]) -> str:
    """What a model hears, by its facts."""
    _, _, separator = facts["input"].partition("/")
    heard = f"the {facts['stem']} as `{separator}` separates it" if separator else f"`{facts['input']}`"
    if facts["context"]:
        heard += f", with {' and '.join(f'`{source}`' for source in facts['context'])} beside it"
    return heard


def measured_text(found: Mapping[str, Any], root: str, what: str) -> list[str]:
    """What a report says, as tables.

    Args:
        found: of `report`.
        root: name of the data set.
        what: the model is called.
    """
    tokens, rows = found["tokens"], found["rows"]
    width = len(tokens["copy_input"])
    distances = [
        f"{row['frechet_distance']:.2f} | " for row in rows if "frechet_distance" in row
    ]  # old cards have none
    lines = [
        f"## Measured on the {found['report_split']} split of `{root}`",
        "",
        f"{found['excerpts']} excerpts of {found['excerpt_seconds']:g} s from songs that were not trained on, against "
        "the clean stem.",
        "",
        f"| | {METRICS_HEAD} |{' FAD, in the latents of the codec |' if distances else ''}",
        f"|---|---|---|---|---|{'---|' if distances else ''}",
        *(
            f"| {row['system']} | {metric_cells(row['against']['target'])} | {distance}".rstrip()
            for row, distance in zip(rows, distances or [""] * len(rows), strict=True)
        ),
        "",
        f"Share of the clean stem's codes that are found, in {tokens['frames']} non-silent frames:",
        "",
        f"| codebook | {' | '.join(str(k + 1) for k in range(width))} |",
        f"|---|{'---|' * width}",
    ]
    for reading, words in {"trained": what, **READINGS}.items():
        cells = [f"{share:.3f}" for share in tokens[reading]] + ["-"] * (width - len(tokens[reading]))
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return [*lines, ""]
