"""An evaluation as it lies in its folder, made up: numbers with a known best and worst, and short sines to hear."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

SAMPLE_RATE = 16000
STEMS = ["bass", "drums", "other", "vocals"]
SYSTEMS = {
    "mixture": ("floor", "the mixtures of the set"),
    "rough": ("input", "separated/rough"),
    "ours": ("system", "runs/fcwe-rough-bass-1a2b3c4d"),
    "MSG": ("system", "estimates/msg"),
    "Demucs": ("system", "estimates/htdemucs"),
    "through the codec": ("ceiling", "the references through the codec “demo”"),
}
QUALITY = {"mixture": -4.0, "rough": 2.0, "ours": 5.5, "MSG": 3.0, "Demucs": 4.2, "through the codec": 11.0}
"""About what SDR each reaches, in dB: the others follow from it."""

METRICS: dict[str, tuple[float, float]] = {
    # metric: value at 0 dB, change per dB
    "sdr_med": (0.0, 1.0),
    "usdr": (0.3, 1.05),
    "si_sdr": (-1.0, 1.1),
    "isr_med": (4.0, 0.8),
    "sir_med": (6.0, 1.2),
    "sar_med": (2.0, 0.6),
    "log_mel_distance": (0.55, -0.035),
    "log_spectral_distance": (14.0, -0.7),
    "stft_distance": (1.6, -0.08),
    "centroid_error": (320.0, -22.0),
    "bandwidth_error": (210.0, -14.0),
    "flatness_error": (0.01, -0.0007),
    "loudness_error": (-2.2, 0.21),
    "rolloff_error": (-340.0, 32.0),
    "onset_f1": (0.62, 0.025),
    "onset_event_f1": (0.55, 0.03),
}
SECOND = ["sdr_med", "usdr", "si_sdr", "log_mel_distance"]
CODEBOOKS = 8


def make_results(tracks: int = 6, stems: list[str] | None = None, seed: int = 0) -> dict[str, Any]:
    """The contents of `results.json`: every track, stem and system by every metric, one of them undefined."""
    rng = np.random.default_rng(seed)
    stems = STEMS if stems is None else stems
    names = [f"{number:02d} Song of the river" for number in range(1, tracks + 1)]
    rows = []
    for name, stem in itertools.product(names, stems):
        ease = rng.normal(scale=1.5) + 1.2 * (STEMS.index(stem) if stem in STEMS else 0)
        for system in SYSTEMS:
            quality = QUALITY[system] + ease + rng.normal(scale=0.8)
            values = {metric: start + slope * quality for metric, (start, slope) in METRICS.items()}
            second = {metric: values[metric] + 0.5 for metric in SECOND}
            row = {"track": name, "stem": stem, "system": system, "seconds": 20.0, "values": values, "second": second}
            rows.append({**row, "notes": []})
    rows[0]["values"]["sir_med"] = None
    rows[3]["notes"] = ["Resampled from 48000 Hz."]
    return {
        "kind": "evaluation",
        "title": "Three separators on the test songs",
        "created": "2026-01-31 12:00",
        "command": "python scripts/evaluate.py data/demo/test estimates/msg estimates/htdemucs --codec demo",
        "sample_rate": 44100,
        "channels": 2,
        "references": "data/demo/test",
        "codec": {"name": "demo", "sample_rate": 44100, "n_codebooks": CODEBOOKS, "codebook_size": 1024},
        "stems": stems,
        "systems": [{"name": name, "role": role, "source": source} for name, (role, source) in SYSTEMS.items()],
        "metrics": list(METRICS),
        "second_metrics": SECOND,
        "coverage": {
            stem: {"tracks": tracks, "seconds": 20.0 * tracks, "frames": 20 * tracks, "silent_frames": 3}
            for stem in stems
        },
        "summary": _summary(rows, [*stems, "all"], "values", list(METRICS)),
        "second": _summary(rows, [*stems, "all"], "second", SECOND),
        "pairs": _pairs(rows, stems),
        "rolloff": {stem: {system: _rolloff(rng, QUALITY[system]) for system in SYSTEMS} for stem in stems},
        "frechet": [
            {
                "stem": stem,
                "system": system,
                "embedding": "latents of the codec demo",
                "value": 30.0 - 2 * QUALITY[system],
                "infinity": 26.0 - 2 * QUALITY[system],
                "vectors": 6000,
                "reference_vectors": 6000,
                "seconds": 120.0,
                "dimension": 128,
                "words": "latents of the codec demo, 6000 vectors of 120 s against 6000 of 120 s",
            }
            for stem in stems
            for system in SYSTEMS
        ],
        "tokens": {stem: _tokens(tracks) for stem in stems},
        "rows": rows,
        "notes": ["01 Song of the river: the estimate of MSG was resampled from 48000 Hz."],
    }


def write_evaluation(folder: Path, results: dict[str, Any], samples: int = 0, seconds: float = 1.0) -> Path:
    """Write the folder: `results.json`, `results.csv`, and best and worst track of the first `samples` stems."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "results.csv").write_text("track,stem,system\n")
    for stem in STEMS[:samples]:
        for why in ("best", "worst"):
            write_sample(folder / "samples" / f"{why} {stem}", results, stem, why, seconds)
    return folder


def write_sample(folder: Path, results: dict[str, Any], stem: str, why: str, seconds: float = 1.0) -> None:
    """A folder of `samples/`: a sine for the reference and for each system, and `sample.json`."""
    folder.mkdir(parents=True)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(1).normal(size=len(time))
    systems = [system["name"] for system in results["systems"]]
    for number, name in enumerate(["reference", *systems]):
        sweep = np.sin(2 * np.pi * (110 * (number + 1) * time + 300 * time**2))
        sf.write(folder / f"{name.replace('/', '_')}.wav", 0.3 * sweep + 0.01 * noise, SAMPLE_RATE)
    track = results["rows"][0]["track"] if why == "best" else results["rows"][-1]["track"]
    found = {row["system"]: row["values"] for row in results["rows"] if (row["track"], row["stem"]) == (track, stem)}
    facts = {"track": track, "stem": stem, "start": 4.0, "seconds": seconds, "why": why, "system": "ours"}
    (folder / "sample.json").write_text(json.dumps({**facts, "metric": "sdr_med", "metrics": found}))


def _values(rows: list[dict[str, Any]], stem: str, system: str, part: str, metric: str) -> list[float]:
    return [
        row[part][metric]
        for row in rows
        if stem in (row["stem"], "all") and row["system"] == system and row[part][metric] is not None
    ]


def _summary(rows: list[dict[str, Any]], stems: list[str], part: str, metrics: list[str]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for stem, system, metric in itertools.product(stems, SYSTEMS, metrics):
        values = _values(rows, stem, system, part, metric)
        spread = 1.96 * float(np.std(values)) / len(values) ** 0.5 if values else None
        mean = float(np.mean(values)) if values else None
        cell = {"value": mean, "low": mean and mean - spread, "high": mean and mean + spread, "tracks": len(values)}
        summary.setdefault(stem, {}).setdefault(system, {})[metric] = cell
    return summary


def _pairs(rows: list[dict[str, Any]], stems: list[str]) -> list[dict[str, Any]]:
    pairs = []
    for stem, metric, (a, b) in itertools.product(stems, METRICS, itertools.combinations(SYSTEMS, 2)):
        first, second = (_values(rows, stem, system, "values", metric) for system in (a, b))
        difference = float(np.mean(first) - np.mean(second)) if first and second else None
        far = abs(QUALITY[a] - QUALITY[b]) > 1.3
        pair = {"stem": stem, "metric": metric, "a": a, "b": b, "difference": difference}
        p = 0.004 if far else 0.21
        pairs.append({**pair, "p": p / 5, "p_holm": p, "tracks": len(first), "words": f"{a} against {b}"})
    return pairs


def _rolloff(rng: np.random.Generator, quality: float) -> dict[str, Any]:
    errors = rng.normal(-20 * (11 - quality), 40 + 40 * (11 - quality), size=400)
    counts, edges = np.histogram(errors, bins=np.arange(-2400, 2401, 50))
    low, median, high = np.percentile(errors, (25, 50, 75))
    found = {"edges": edges.tolist(), "counts": counts.tolist(), "median": median, "low": low, "high": high}
    return {**found, "frames": 400}


def _tokens(tracks: int) -> dict[str, Any]:
    falling = [1 / codebook for codebook in range(1, CODEBOOKS + 1)]
    systems = {
        system: {
            "token_accuracy": [(quality + 6) / 20 * share for share in falling],
            "cumulative_accuracy": [(quality + 6) / 20 * share**2 for share in falling],
            "top5_accuracy": [min(1.0, (quality + 6) / 12 * share**0.5) for share in falling],
            "codebook_distance": [(12 - quality) / share**0.1 for share in falling],
            "entropy_bits": [6 + 0.2 * k for k in range(CODEBOOKS)],
        }
        for system, quality in QUALITY.items()
    }
    entropy = [6.5 + 0.2 * k for k in range(CODEBOOKS)]
    majority = [0.05 * share for share in falling]
    return {"frames": 900 * tracks, "majority": majority, "target_entropy_bits": entropy, "systems": systems}
