import json
import os
import shutil
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codec_ft.errors import UserError
from experiments.report import players
from experiments.report.page import write_page
from experiments.report.players import relative_url
from experiments.report.spectrograms import spectrogram_png


class Reader(HTMLParser):
    """Collects the text and the addresses of a page, and refuses tags that are not closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "input", "rect", "path", "use", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data.replace("\u00a0", " "))


def read(html: Path) -> Reader:
    return Reader(html.read_text(encoding="utf-8"))


def test_the_page_tells_the_whole_story(make_run: Callable[..., Path]):
    run = make_run()
    html = write_page(run)
    assert html == run / "index.html"
    text = read(html).text
    for words in (
        "fcwe-mixture-bass",
        "mixture → bass",
        "learns to answer with what the frozen encoder gives for the clean bass",
        "5 min 12 s",
        "uSDR against the clean bass rose from −2.5 dB (mixture) to 3.6 dB, 36 % of the way",
        "mean squared error is 25 % of the untouched encoder's",
        "By this measure, doing nothing is still better",
        "best @ step 650",
        "against quantised target",
        "copy of the input's tokens",
        "Checkpoint chosen on the validation excerpts.",
        "accelerate launch scripts/train_codec.py",
        "How the training went lr",
        "root: data/demo",
    ):
        assert words in text, words
    assert "missing or damaged" not in text


def test_every_address_is_a_file_of_the_run(make_run: Callable[..., Path]):
    run = make_run()
    addresses = [a for a in read(write_page(run)).addresses if not a.startswith(("#", "data:"))]
    assert len(addresses) == 3 * 5 * 2
    assert all((run / unquote(address)).is_file() for address in addresses)
    assert not any(set(address) & set(" #?\"'&<>") for address in addresses)
    html = (run / "index.html").read_text()
    assert "http" not in html and "//" not in "".join(addresses)


def test_any_file_name_becomes_an_address(tmp_path: Path):
    assert relative_url(tmp_path / "a b#c" / "50%?.wav", tmp_path) == "a%20b%23c/50%25%3F.wav"
    assert relative_url(tmp_path / os.fsdecode(b"\xff.wav"), tmp_path) == "%FF.wav"


def test_names_cannot_break_out_of_the_markup(make_run: Callable[..., Path]):
    run = make_run(['"><script>alert(1)<', "<details>"])
    html = write_page(run).read_text()
    assert "<script>alert" not in html
    Reader(html)


def test_a_name_that_is_no_utf8_is_shown_somehow(make_run: Callable[..., Path]):
    run = make_run([])
    track = run / "samples" / os.fsdecode(b"caf\xe9")
    track.mkdir(parents=True)
    sf.write(os.fsencode(track / "output.wav"), np.zeros(1600), 16000, format="WAV")
    assert "caf\ufffd" in read(write_page(run)).text


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("config.yaml", "config.yaml is missing"),
        ("metrics.jsonl", "metrics.jsonl is missing"),
        ("results.json", "the last logged step is 700 of 700"),
        ("samples", "nothing was rendered to listen to yet"),
        ("samples/a/sample.json", "sample.json is missing"),
        ("samples/a/quantized_input.wav", "Not there: quantized_input.wav"),
    ],
)
def test_whatever_is_missing_is_named(make_run: Callable[..., Path], gone: str, words: str):
    run = make_run(["a"])
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert words in read(write_page(run)).text


@pytest.mark.parametrize(
    ("broken", "content", "words"),
    [
        ("config.yaml", b"stem: [bass", "config.yaml cannot be parsed"),
        ("config.yaml", b"\xff\xfe", "config.yaml"),
        ("results.json", b'{"rows": [', "results.json cannot be parsed"),
        ("results.json", b"[1, 2]", "No final results yet"),
        ("metrics.jsonl", b'{"step": 1, "loss": 1}\n{"step": 2, "loss": 0.5}\n{"step": 3, "lo', "1 unreadable line of"),
        ("metrics.jsonl", b'{"step": 1, "loss": NaN}\n{"step": 2, "loss": null}', "loss was not a finite number at 2"),
        ("metrics.jsonl", b"", "Configuration"),
        ("samples/a/sample.json", b"{", "sample.json cannot be parsed"),
        ("samples/a/output.wav", b"RIFF", "output.wav cannot be read as audio"),
        ("samples/a/output.wav", b"", "output.wav cannot be read as audio"),
    ],
)
def test_whatever_is_broken_is_named(make_run: Callable[..., Path], broken: str, content: bytes, words: str):
    run = make_run(["a"])
    (run / broken).write_bytes(content)
    assert words in read(write_page(run)).text


def test_a_run_that_just_began_has_a_page(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("id: x\nstem: bass\ninput: mixture\n")
    text = read(write_page(tmp_path)).text
    assert "No results yet: nothing has been logged so far." in text


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch])
def test_what_is_no_run_folder_is_refused(tmp_path: Path, make: Callable[[Path], None]):
    path = tmp_path / "elsewhere"
    make(path)
    with pytest.raises(UserError, match="elsewhere"):
        write_page(path)
    assert not (path / "index.html").exists()


def test_half_written_files_are_passed_over(make_run: Callable[..., Path]):
    run = make_run(["a"])
    (run / "samples" / "a" / ".partial-12-output.wav").write_bytes(b"RIFF")
    (run / "samples" / ".partial-b").mkdir()
    text = read(write_page(run)).text
    assert "partial" not in text


def test_the_page_of_a_codec_speaks_of_reconstruction(tmp_path: Path):
    track = tmp_path / "samples" / "a - bass"
    track.mkdir(parents=True)
    for name in ("output", "target"):
        sf.write(track / f"{name}.wav", np.zeros(1600), 16000)
    side_car = {"track": "a", "stem": "bass", "metrics": {"output": {"target": {"usdr": 14.1}}}}
    (track / "sample.json").write_text(json.dumps(side_car))
    (tmp_path / "config.yaml").write_text("id: codec_demo\ntask: encodec\nstem: all\n")
    rows = [{"system": "bass reconstructed", "role": "output", "against": {"target": {"usdr": 14.1}}}]
    usage = {"used": [812, 1024], "perplexity": [301.5, 655.2]}
    (tmp_path / "results.json").write_text(json.dumps({"status": "finished", "rows": rows, "usage": usage}))
    text = read(write_page(tmp_path)).text
    for words in ("audio → tokens → audio", "uSDR in dB: bass reconstructed 14.1", "the original", "codes used 812"):
        assert words in text, words
    assert "Not there" not in text and "clean all" not in text


def test_a_resumed_run_keeps_the_later_value(make_run: Callable[..., Path]):
    run = make_run([])
    lines = [{"step": step, "split": "train", "loss": loss} for step, loss in ((1, 9.0), (2, 8.0), (2, 5.0))]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert "train 5.00" in read(write_page(run)).text


def test_a_long_page_stays_small_and_folded(make_run: Callable[..., Path]):
    run = make_run([f"track number {i:03d}" for i in range(4)], seconds=0.1)
    few = write_page(run).stat().st_size
    for i in range(4, 24):
        shutil.copytree(run / "samples" / "track number 000", run / "samples" / f"track number {i:03d}")
    many = write_page(run)
    assert few + 96 * (many.stat().st_size - few) / 20 < 500_000
    html = many.read_text()
    assert html.count('preload="metadata"') == 3 * 5 and html.count('preload="none"') == 21 * 5
    assert 'type="search"' in html


def test_a_wav_that_breaks_in_the_middle_is_left_out(make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    run = make_run(["a"])

    def refuse(wav: Path) -> Path:
        if wav.stem == "output":
            raise sf.LibsndfileError(1)
        return spectrogram_png(wav)

    monkeypatch.setattr(players, "spectrogram_png", refuse)
    text = read(write_page(run)).text
    assert "output.wav is damaged" in text and "Not there: output.wav" in text


def test_a_second_page_draws_nothing_again(make_run: Callable[..., Path]):
    run = make_run(["a"])
    write_page(run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.png")}
    write_page(run)
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*.png")}
    assert len(before) == 5


KEYS = [
    *("rows", "role", "against", "target", "quantized_target", "usdr", "system", "latent_mse", "tokens", "trained"),
    *("copy_input", "metrics", "output", "start", "track", "status", "notes", "seconds", "steps", "data", "train"),
]

numbers = st.floats() | st.integers(-(10**9), 10**9)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)
losses = st.lists(st.tuples(st.integers(0, 99), numbers), max_size=5)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(results=anything, facts=anything, config=anything, losses=losses)
def test_no_content_breaks_the_page(tmp_path: Path, results: object, facts: object, config: object, losses: list):
    track = tmp_path / "samples" / "a"
    track.mkdir(parents=True, exist_ok=True)
    if not (track / "output.wav").exists():
        sf.write(track / "output.wav", np.zeros(160), 16000)
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    (track / "sample.json").write_text(json.dumps(facts))
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in losses]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, json.dumps(results)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(write_page(tmp_path))
