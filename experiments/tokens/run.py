"""One analysis of tokens from its configuration to its page."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from codec_ft.data.check import check_dataset
from codec_ft.training.run_folder import RunFolder, open_run
from experiments.report.analysis import write_analysis_page
from experiments.tokens.ceiling import measure_ceiling
from experiments.tokens.clouds import measure_clouds
from experiments.tokens.config import AnalysisName, TokensConfig
from experiments.tokens.gather import Material, open_codec
from experiments.tokens.idempotence import measure_idempotence
from experiments.tokens.occurrence import measure_occurrence
from experiments.tokens.outcome import Outcome, save_outcome
from experiments.tokens.shift import measure_shift
from experiments.tokens.silence import measure_silence


@dataclass(frozen=True)
class Analysis:
    """An analysis: its title, the question that it answers, where it comes from, and what measures it."""

    title: str
    question: str
    origin: str
    measure: Callable[[Material, TokensConfig], Outcome]


ANALYSES: dict[AnalysisName, Analysis] = {
    "ceiling": Analysis(
        "The codec's ceiling",
        "How much of each stem survives the codec, and how many codebooks does it take?",
        "thesis, section 6, table 1",
        measure_ceiling,
    ),
    "occurrence": Analysis(
        "Which codes occur",
        "Which codes does each stem use, how evenly, and do the stems share them?",
        "thesis, section 6.1, figure 11",
        measure_occurrence,
    ),
    "silence": Analysis(
        "The codes of silence",
        "Are the most frequent codes those of silence, and what does a grid of nothing else sound like?",
        "thesis, section 6.1",
        measure_silence,
    ),
    "clouds": Analysis(
        "Stems in the latent space",
        "Do the quantised latents of the stems lie apart, and which codebooks make it so?",
        "thesis, section 6.1, figures 12 and 13",
        measure_clouds,
    ),
    "shift": Analysis(
        "From the bass towards silence",
        "Does moving latents from the region of the bass towards silence take the bass away?",
        "thesis, section 6.1",
        measure_shift,
    ),
    "idempotence": Analysis(
        "Tokens of decoded tokens",
        "How many tokens come back when the codec encodes what it has decoded, and do they settle?",
        "this project",
        measure_idempotence,
    ),
}


def run_tokens(config: TokensConfig) -> RunFolder:
    """Check the data, measure, write tables, figures and sounds, and the page.

    A finished analysis says so and does nothing; one that was stopped begins again.

    Raises:
        UserError: anything that the user can mend.
    """
    check_dataset(config.data.root, splits=[config.data.split]).raise_if_errors()
    run = open_run(config)
    page = run.path / "index.html"
    if run.finished:
        if not page.is_file():  # stopped after the results, before their page
            write_analysis_page(run.path)
        print(f"{run.path} is finished. Its page: {page}", file=sys.stderr)
        return run
    codec = open_codec(config.codec)
    analysis = ANALYSES[config.analysis]
    started = time.perf_counter()
    material = Material(codec, config.data, config.sources)
    print(f"{run.path}: {analysis.title.lower()}, on {material.device.type}", file=sys.stderr)
    outcome = analysis.measure(material, config)
    pieces = [excerpt for excerpts in material.excerpts.values() for excerpt in excerpts]
    run.finish(
        {
            "status": "finished",
            "title": analysis.title,
            "question": analysis.question,
            "origin": analysis.origin,
            **save_outcome(outcome, run.path, codec.sample_rate),
            "seconds": round(time.perf_counter() - started, 1),
            "finished_at": time.strftime("%Y-%m-%d %H:%M"),
            "device": material.device.type,
            "data": config.data.root.name,
            "split": config.data.split,
            "tracks": len(material.tracks),
            "sources": material.sources,
            "minutes": round(sum(piece.seconds for piece in pieces) / 60, 2),
            "codec": {
                "name": config.codec,
                "sample_rate": codec.sample_rate,
                "hop_length": codec.hop_length,
                "n_codebooks": codec.n_codebooks,
                "codebook_size": codec.codebook_size,
                "latent_dim": codec.latent_dim,
            },
        }
    )
    write_analysis_page(run.path)
    print(f"Done. Open {page}", file=sys.stderr)
    return run
