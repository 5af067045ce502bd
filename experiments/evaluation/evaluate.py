"""One evaluation from a comparison to its folder: results, samples, page."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from codec_ft.data.workers import ParallelMap, available_cores, worker_processes
from codec_ft.errors import UserError
from codec_ft.metrics.external import available_tools
from codec_ft.metrics.registry import METRICS
from experiments.evaluation.align import group_notes
from experiments.evaluation.distributions import frechet_table, onset_table, rolloff_table, token_table
from experiments.evaluation.listen import choose, leading_metric, write_sample_of
from experiments.evaluation.parts import forget_parts, is_evaluation, measure_all
from experiments.evaluation.reference_set import embed_references
from experiments.evaluation.results import RESULTS, Row, write_results
from experiments.evaluation.settings import Settings
from experiments.evaluation.summary import collect, compare_pairs, coverage, summarize
from experiments.evaluation.systems import Comparison
from experiments.report.evaluation import write_evaluation_page

DAC_IS_NOT_BLIND = (
    "The authors of DAC validated their training on data that contain MUSDB18's test tracks, so its ceiling there may "
    "be a little higher than on music that nobody has looked at."
)


@dataclass(frozen=True)
class Listening:
    """What to write for the ear.

    Attributes:
        seconds: length of an excerpt; 0 writes none.
        tracks: tracks to hear, instead of each stem's best and worst.
    """

    seconds: float = 10.0
    tracks: tuple[str, ...] = ()


def evaluate(
    comparison: Comparison,
    settings: Settings,
    folder: Path,
    *,
    title: str,
    command: str,
    listening: Listening,
    jobs: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Measure everything, track by track in parallel, and write results, samples and page.

    Stopped, the same call goes on with the tracks that are missing.

    Args:
        comparison: what is compared.
        settings: how it is measured.
        folder: what it is written to.
        title: heading of the page.
        command: the command that makes it again, for the page.
        listening: what to write for the ear.
        jobs: processes; None is one per core.
        overwrite: replace the results of another evaluation in `folder`.

    Returns:
        What `results.json` holds, without its rows.

    Raises:
        UserError: `folder` holds results already, or nothing could be measured.
    """
    if (folder / RESULTS).exists() and not overwrite:
        raise UserError(f"{folder}: holds an evaluation. Give another --out, or --overwrite it.")
    if not is_evaluation(folder) and any((folder / name).exists() for name in (RESULTS, "samples")):
        raise UserError(f"{folder}: holds results or samples that no evaluation wrote. Give another --out.")
    for tool in settings.tools:
        if tool not in available_tools():
            raise UserError(f"--tool {tool}: not installed. Installed are: {', '.join(available_tools()) or 'none'}.")
    began = time.monotonic()
    jobs = min(jobs or available_cores(), len(comparison.tracks))
    with worker_processes(jobs) as run:
        results, rows = _measure(comparison, settings, folder, run)
        # Those of the evaluation that was there before would be shown beside the new ones.
        shutil.rmtree(folder / "samples", ignore_errors=True)
        if listening.seconds:
            _write_samples(folder / "samples", comparison, settings, listening, rows, results["metrics"], run)
    results |= {
        "kind": "evaluation",
        "title": title,
        "command": command,
        "created": time.strftime("%Y-%m-%d %H:%M"),
        "measured_in_seconds": round(time.monotonic() - began, 1),
    }
    write_results(folder, results, rows, results["metrics"])
    write_evaluation_page(folder)
    forget_parts(folder)
    return results


def _measure(
    comparison: Comparison, settings: Settings, folder: Path, run: ParallelMap
) -> tuple[dict[str, Any], list[Row]]:
    """Everything that is measured, in tables, and the rows that they were made of."""
    tracks = measure_all(comparison, settings, folder, run)
    measured = list(tqdm(tracks, desc="evaluate", total=len(comparison.tracks), unit="track"))
    rows = [row for track in measured for row in track.rows]
    notes = [
        *comparison.notes,
        *(sentence for track in measured for sentence in track.left_out),
        *group_notes([note for track in measured for note in track.notes]),
    ]
    if settings.codec_seconds and (settings.codec or settings.embedding):
        notes.append(
            f"Tokens and Fréchet distances are those of the loudest {settings.codec_seconds:g} s of each item."
        )
    if (settings.codec or "").startswith("dac_"):
        notes.append(DAC_IS_NOT_BLIND)
    if not rows:
        raise UserError(f"Nothing could be measured. {notes[-1]}")
    embedding, others = settings.embedding or settings.codec, None
    if settings.fad_reference and embedding:
        others = embed_references(settings.fad_reference, "train", comparison.stems, embedding, settings.device, run)
    values, second = collect(rows), collect(rows, second=True)
    metrics = [name for name in METRICS if any(name in row.values for row in rows)]
    second_metrics = [name for name in METRICS if any(name in row.second for row in rows)]
    names = list(dict.fromkeys(row.system for row in rows))
    known = {system.name: system for system in comparison.systems}
    some = next(track for track in measured if track.rows)
    results = {
        "sample_rate": some.sample_rate,
        "channels": some.channels,
        "references": comparison.references.source,
        "codec": some.codec,
        "stems": comparison.stems,
        "systems": [
            {"name": name, "role": known[name].role, "source": known[name].source}
            if name in known
            else {"name": name, "role": "ceiling", "source": f"the reference through the codec {settings.codec}"}
            for name in names
        ],
        "metrics": metrics,
        "second_metrics": second_metrics,
        "coverage": coverage(rows),
        "summary": summarize(values),
        "second": summarize(second),
        "pairs": compare_pairs(comparison, values, metrics),
        "rolloff": rolloff_table(rows),
        "onsets": onset_table(rows),
        "frechet": frechet_table(rows, [row for track in measured for row in track.references], embedding, others),
        "tokens": token_table(rows),
        "notes": notes,
    }
    return results, rows


def _write_samples(
    folder: Path,
    comparison: Comparison,
    settings: Settings,
    listening: Listening,
    rows: Sequence[Row],
    metrics: Sequence[str],
    run: ParallelMap,
) -> None:
    """Write what is worth hearing; the files are read again, since keeping all audio would need the memory of it."""
    choices = choose(comparison, collect(rows), leading_metric(metrics), listening.tracks)
    parts = [comparison.of_track(choice.item[0]) for choice in choices]
    of_items = [[row for row in rows if (row.track, row.stem) == choice.item] for choice in choices]
    work = zip(choices, parts, of_items, strict=True)
    write = partial(write_sample_of, folder, settings, listening.seconds)
    for _ in tqdm(run(write, work), desc="samples", total=len(choices), unit="sample"):
        pass
