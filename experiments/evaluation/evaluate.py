"""One evaluation from a comparison to its folder: results, samples, page."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from codec_ft.codecs.load import load_codec
from codec_ft.data.workers import available_cores, worker_processes
from codec_ft.errors import UserError
from codec_ft.metrics.external import available_tools
from codec_ft.metrics.registry import METRICS
from experiments.evaluation.align import group_notes, read_aligned
from experiments.evaluation.coding import Coder
from experiments.evaluation.distributions import frechet_table, onset_table, rolloff_table, token_table
from experiments.evaluation.listen import choose, leading_metric, write_choice
from experiments.evaluation.measure import Settings, with_ceiling
from experiments.evaluation.parts import forget_parts, measure_all
from experiments.evaluation.reference_set import embed_references
from experiments.evaluation.results import RESULTS, Row, write_results
from experiments.evaluation.summary import Values, collect, compare_pairs, coverage, summarize
from experiments.evaluation.systems import Comparison
from experiments.report.evaluation import write_evaluation_page


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
    for tool in settings.tools:
        if tool not in available_tools():
            raise UserError(f"--tool {tool}: not installed. Installed are: {', '.join(available_tools()) or 'none'}.")
    began = time.monotonic()
    embedding = settings.embedding or settings.codec
    with worker_processes(min(jobs or available_cores(), len(comparison.tracks))) as run:
        tracks = tqdm(
            measure_all(comparison, settings, folder, run), desc="evaluate", total=len(comparison.tracks), unit="track"
        )
        measured = list(tracks)
        others = None
        if settings.fad_reference and embedding:
            others = embed_references(
                settings.fad_reference, "train", comparison.stems, embedding, settings.device, run
            )
    rows = [row for track in measured for row in track.rows]
    notes = [
        *comparison.notes,
        *(sentence for track in measured for sentence in track.left_out),
        *group_notes([note for track in measured for note in track.notes]),
    ]
    if not rows:
        raise UserError(f"Nothing could be measured. {notes[-1]}")
    values, second = collect(rows), collect(rows, second=True)
    metrics = [name for name in METRICS if any(name in row.values for row in rows)]
    second_metrics = [name for name in METRICS if any(name in row.second for row in rows)]
    codec = load_codec(settings.codec) if settings.codec else None
    names = list(dict.fromkeys(row.system for row in rows))
    known = {system.name: system for system in comparison.systems}
    results = {
        "kind": "evaluation",
        "title": title,
        "created": time.strftime("%Y-%m-%d %H:%M"),
        "command": command,
        "sample_rate": measured[0].sample_rate,
        "channels": measured[0].channels,
        "references": comparison.references.source,
        "codec": codec
        and {
            "name": settings.codec,
            "sample_rate": codec.sample_rate,
            "n_codebooks": codec.n_codebooks,
            "codebook_size": codec.codebook_size,
        },
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
    leading = leading_metric(metrics)
    if listening.seconds:
        _write_samples(folder / "samples", comparison, settings, listening, values, leading, rows)
    results["measured_in_seconds"] = round(time.monotonic() - began, 1)
    write_results(folder, results, rows, metrics)
    write_evaluation_page(folder)
    forget_parts(folder)
    return results


def _write_samples(
    folder: Path,
    comparison: Comparison,
    settings: Settings,
    listening: Listening,
    values: Values,
    metric: str,
    rows: Sequence[Row],
) -> None:
    """Write what is worth hearing; the files are read again, since keeping all audio would need the memory of it."""
    coder = Coder(settings.codec, settings.device) if settings.codec else None
    for choice in tqdm(choose(comparison, values, metric, listening.tracks), desc="samples", unit="sample"):
        aligned = with_ceiling(
            comparison,
            read_aligned(comparison, choice.item, settings.sample_rate, settings.channels, align=settings.align),
            coder,
        )
        write_choice(folder, choice, aligned.reference, aligned.estimates, aligned.sample_rate, rows, listening.seconds)
