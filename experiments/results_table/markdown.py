"""The table of results as a Markdown file: the same run folders give the same bytes."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from codec_ft.atomic import atomic_path
from codec_ft.errors import UserError
from codec_ft.training.stem_config import StemConfig
from experiments.registry.card import ScaleName, read_scale
from experiments.registry.catalogue import Group
from experiments.report.wording import show, show_duration, show_percent
from experiments.results_table.claim import Verdict
from experiments.results_table.entries import Entry, Judged, Section

MARK = (
    "<!-- Written by scripts/run_experiment.py table, which writes it anew: what is changed here by hand is lost. -->"
)

HOW_TO_READ = """\
**How to read it.** One row for each run. uSDR is the signal-to-distortion ratio of the whole excerpt against the clean
stem, in dB, mean over excerpts: of the mixture and of the input, which are the floors to stand on, of our output, and
of the clean stem through the codec, the ceiling of what tokens can say. The other columns put in brackets what a number
stands beside. *First tokens*: share of the first codebook's tokens that are the clean stem's, in sounding frames
(copying the input's tokens; always the commonest token; what the codec repeats of its own). *Log-mel*: distance of
multi-scale log-mel spectrograms, lower is better (input; ceiling). *Latents*: mean squared error of the latents
(untouched encoder). Below the runs, each finding of the thesis stands beside the claim that is taken for it, with our
numbers put in."""

RUN_COLUMNS = ("ID", "what", "mixture", "input", "**ours**", "ceiling", "first tokens", "log-mel", "latents", "time")
PLACES = ("runs=", "run=")
"""Overrides that say where runs lie, which is nobody else's business."""
VERDICTS = {"shown": "**shown**", "not shown": "**not shown**", "open": "open"}


def write_table(sections: Sequence[Section], path: Path, *, scale: ScaleName, overrides: Sequence[str] = ()) -> None:
    """Write the table of results.

    Args:
        sections: what it says.
        path: the file; one that this function wrote before is replaced.
        scale: of the runs.
        overrides: the `key=value` words that they were started with.

    Raises:
        UserError: `path` holds something else.
    """
    if path.is_dir() or (path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(MARK)):
        raise UserError(f"{path}: was not written by this command and is left as it is. Choose another --out.")
    with atomic_path(path) as temporary:
        temporary.write_text(render_table(sections, scale, overrides), encoding="utf-8")


def render_table(sections: Sequence[Section], scale: ScaleName, overrides: Sequence[str] = ()) -> str:
    """The table of results in Markdown."""
    entries = [entry for section in sections for entry in section.entries]
    verdicts = [judged.verdict for section in sections for judged in section.judged]
    finished = sum(entry.state.kind == "finished" for entry in entries)
    parts = [
        MARK,
        "# Results",
        "The experiments of Ivan Meresman Higgs, *Music Source Separation: A Generative Approach* (2023), each by its "
        f"ID, with what the thesis found and what our runs measure. Scale `{scale}`: {read_scale(scale).what}.",
        f"**{finished} of {len(entries)} experiments are finished. {_capital(_counted(verdicts))} of {len(verdicts)} "
        "findings.**",
        _conditions(entries, overrides),
        _overview(sections),
        HOW_TO_READ,
        *(part for section in sections for part in _section(section, scale)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _conditions(entries: Sequence[Entry], overrides: Sequence[str]) -> str:
    """What was run: codec, data, steps, device, time."""
    configs = [entry.config for entry in entries if isinstance(entry.config, StemConfig)]
    if not configs:
        return ""
    data, train = [config.data for config in configs], [config.train for config in configs]
    lines = [
        f"Codec {_listed(config.codec for config in configs)}",
        f"data {_listed(part.root.name for part in data)}",
        f"{_span(part.steps for part in train)} steps of {_span(part.batch_size for part in train)} excerpts of "
        f"{_span(part.seconds for part in data)} s",
        f"{_listed(part.optimizer.name for part in train)}, learning rate "
        f"{_span(part.optimizer.learning_rate for part in train)}",
    ]
    if done := [entry.record for entry in entries if entry.record is not None and entry.record.numbers is not None]:
        seconds = sum((record.numbers or {}).get("seconds", 0.0) for record in done)
        lines += [
            f"measured on {_span(record.excerpts for record in done)} excerpts of "
            f"{_span(record.excerpt_seconds for record in done)} s of the split "
            f"{_listed(part.report_split for part in data)}, or of the song or segment that was learnt",
            f"on {_listed(record.device for record in done)}",
            f"{show_duration(seconds)} of training",
        ]
    if changes := [word for word in overrides if not word.startswith(PLACES)]:
        lines.append(f"with {_code(shlex.join(changes))}")
    return "; ".join(lines) + "."


def _overview(sections: Sequence[Section]) -> str:
    """A line for each group, with links to it."""
    rows = []
    for section in sections:
        name, left_out = section.group.name, section.group.card.left_out if section.group.card else ""
        finished = sum(entry.state.kind == "finished" for entry in section.entries)
        runs = "left out" if left_out else f"{finished} of {len(section.entries)}"
        judged = _counted([judged.verdict for judged in section.judged]) if section.judged else ""
        rows.append([f"[{name}](#{_anchor(section.group)})", section.group.title, runs, judged])
    return _table(("", "experiment", "runs", "findings"), rows)


def _section(section: Section, scale: ScaleName) -> list[str]:
    """Heading, runs and findings of a card; of a single experiment what it found by itself."""
    card = section.group.card
    if card is None:
        (entry,) = section.entries
        found = [f"- {' '.join(sentence.split())}" for sentence in (entry.record.findings if entry.record else [])]
        told = "\n".join(found) if entry.record else f"{_capital(_state(entry))}."
        return [f"## {section.group.name}", f"**{section.group.title}.**", told]
    head = [f"## {section.group.name}", f"**{card.title}.** {_capital(card.source)}."]
    if card.left_out:
        return [*head, f"Left out: {card.left_out}"]
    rows = [
        [judged.finding.said, _claim(judged.finding.here, judged.verdict), _verdict(judged, scale)]
        for judged in section.judged
    ]
    whose = card.findings[0].by_whom if card.findings else ""
    findings = _table((whose, "here", "verdict"), rows)
    return [*head, _table(RUN_COLUMNS, [_run_row(entry) for entry in section.entries]), *([findings] if rows else [])]


def _verdict(judged: Judged, scale: ScaleName) -> str:
    """The verdict, and at the demo scale what is to blame where something is not shown."""
    why = judged.finding.why_not if judged.verdict.kind == "not shown" and scale == "demo" else ""
    return VERDICTS[judged.verdict.kind] + (f". {why}" if why else "")


def _run_row(entry: Entry) -> list[str]:
    """The cells of a fine-tuning, by `RUN_COLUMNS`."""
    head = [f"`{entry.experiment.id}`", entry.experiment.what]
    if entry.numbers is None:
        return [*head, "", "", _state(entry), *[""] * (len(RUN_COLUMNS) - len(head) - 3)]
    numbers = entry.numbers

    def level(name: str) -> str:
        return show(numbers.get(name), "dB")

    def beside(own: str, *others: str) -> str:
        return f"**{own}** ({'; '.join(others)})"

    tokens = [show_percent(numbers.get(f"{name}_1")) for name in ("accuracy", "copy", "majority", "idempotence")]
    mel = [show(numbers.get(f"log_mel_distance{suffix}")) for suffix in ("", "_input", "_ceiling")]
    latents = [show(numbers.get(f"latent_mse{suffix}")) for suffix in ("", "_untouched")]
    return [
        *head,
        level("usdr_mixture"),
        level("usdr_input"),
        f"**{level('usdr')}**",
        level("usdr_ceiling"),
        beside(*tokens),
        beside(*mel),
        beside(*latents),
        show_duration(numbers.get("seconds")),
    ]


def _state(entry: Entry) -> str:
    """Where a run stands that has no numbers."""
    state = entry.state
    if state.kind == "finished":
        return "finished"
    steps = (
        f" of {entry.config.train.steps}" if state.kind == "unfinished" and isinstance(entry.config, StemConfig) else ""
    )
    return f"{state.kind}{': ' if state.kind == 'failed' else ' '}{state.why}{steps}".strip()


def _claim(here: str, verdict: Verdict) -> str:
    told = verdict.because if verdict.kind == "open" else _code(verdict.because)
    return f"{here}: {told}" if here else told


def _counted(verdicts: Sequence[Verdict]) -> str:
    """Verdicts by kind: `3 shown, 1 not shown`."""
    counts = {kind: sum(verdict.kind == kind for verdict in verdicts) for kind in VERDICTS}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    """Text that cannot break out of its cell."""
    return re.sub(r"[ \t\r\n]+", " ", text).strip().replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`"


def _anchor(group: Group) -> str:
    return group.name.lower()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(_code(name) for name in dict.fromkeys(names))


def _span(values: Iterable[float]) -> str:
    """The one value that all share, or the least and the greatest."""
    low_to_high = sorted(set(values))
    ends = low_to_high if len(low_to_high) < 2 else [low_to_high[0], low_to_high[-1]]
    return " to ".join(f"{value:g}" for value in ends)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
