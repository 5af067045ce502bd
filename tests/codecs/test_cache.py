"""Files that are fetched once: from where, to where, and what keeps wrong ones out."""

import hashlib
import multiprocessing
import shutil
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codec_ft.codecs import cache
from codec_ft.codecs.cache import cache_folder, fetch, find_cached, trust
from codec_ft.codecs.releases import RELEASES, Release
from codec_ft.errors import UserError

CONTENT = bytes(range(256)) * 10000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_SEPARATION_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release whose file lies on a server, in effect; of an unknown hash."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "weights.pth").write_bytes(CONTENT)
    url = (tmp_path / "server" / "weights.pth").as_uri()
    return replace(RELEASES["dac_44khz_16kbps"], url=url, original_cache=None, sha256=None)


def kept() -> list[str]:
    return sorted(path.name for path in cache_folder().iterdir()) if cache_folder().exists() else []


def refusal(release: Release) -> str:
    with pytest.raises(UserError) as caught:
        fetch(release)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def offline(*_: Any, **__: Any) -> None:
    raise urllib.error.URLError(OSError("no route to host"))


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/mozart")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("TOKEN_SEPARATION_CACHE", "~/weights")
    assert cache_folder() == Path("/home/mozart/weights")
    monkeypatch.setenv("TOKEN_SEPARATION_CACHE", "")
    assert cache_folder() == Path("/scratch/token-separation/codecs")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/mozart/.cache/token-separation/codecs")


def test_fetched_once(release: Release, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_cached(release) is None
    path = fetch(release)
    assert path == cache_folder() / "weights_44khz_16kbps_1.0.0.pth"
    assert path.read_bytes() == CONTENT
    assert kept() == [path.name], "no temporary files"
    bar = capsys.readouterr().err
    assert path.name in bar
    assert "2.56M/2.56M" in bar
    monkeypatch.setattr(cache, "urlopen", offline)
    assert fetch(release) == find_cached(release) == path


@pytest.mark.parametrize("digits", [8, 64])
def test_published_hashes(release: Release, digits: int) -> None:
    right = replace(release, sha256=DIGEST[:digits])
    path = fetch(right)
    assert fetch(right) == path
    text = refusal(replace(release, sha256=OTHER[:digits]))
    assert text == (
        f"{path}: has SHA-256 {DIGEST}, but {OTHER[:digits]} was published. Delete the file, and it is fetched again "
        "when it is next asked for."
    )


def test_a_wrong_download_is_not_kept(release: Release) -> None:
    text = refusal(replace(release, sha256=OTHER))
    assert text.startswith(release.url)
    assert DIGEST in text
    assert OTHER in text
    assert kept() == []


def test_trust_on_first_use(release: Release) -> None:
    path = fetch(release)
    record = cache_folder() / f"{path.name}.sha256"
    assert not record.exists(), "it was not used yet"
    trust(release, path)
    assert record.read_text() == f"{DIGEST}  {path.name}\n"
    assert fetch(release) == path
    path.write_bytes(b"other")
    text = refusal(release)
    assert f"{path}: has SHA-256 {OTHER}, but had {DIGEST} when it was first used" in text
    assert f"If you know why, delete {record}." in text
    trust(release, path)
    assert DIGEST in record.read_text(), "only the first use counts"
    path.unlink()
    assert fetch(release).read_bytes() == CONTENT, "what the record says can be fetched again"
    record.write_text(f"{OTHER}  {path.name}\n")
    path.unlink()
    assert "Nothing of it was kept" in refusal(release)
    assert kept() == [record.name]
    record.unlink()
    assert fetch(release) == path


def test_a_published_hash_needs_no_record(release: Release) -> None:
    right = replace(release, sha256=DIGEST)
    trust(right, fetch(right))
    assert kept() == [release.file]


def test_files_of_the_original_package_are_used(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "urlopen", offline)
    elsewhere = replace(release, original_cache=lambda: tmp_path / "theirs")
    shutil.copytree(tmp_path / "server", tmp_path / "theirs")
    path = (tmp_path / "theirs" / "weights.pth").rename(tmp_path / "theirs" / release.file)
    assert fetch(elsewhere) == path
    assert "was published" in refusal(replace(elsewhere, sha256=OTHER))
    trust(elsewhere, path)
    path.write_bytes(b"other")
    assert "when it was first used" in refusal(elsewhere)
    shutil.copy(tmp_path / "server" / "weights.pth", cache_folder() / release.file)
    assert fetch(elsewhere) == cache_folder() / release.file, "our own comes first"


@pytest.mark.parametrize("name", list(RELEASES))
def test_without_a_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "urlopen", offline)
    release = RELEASES[name]
    text = refusal(release)
    assert text.startswith(
        f"{name}: {release.file} ({release.size}; licence of the weights: {release.licence_weights})"
    )
    assert "no route to host" in text
    assert f"download {release.url} and save it as {cache_folder() / release.file}" in text
    assert kept() == []


def http_error(*_: Any, **__: Any) -> None:
    raise urllib.error.HTTPError("https://example.org", 404, "Not Found", {}, None)  # type: ignore[arg-type]


class Broken:
    """An answer that ends before what it announced, or fails."""

    def __init__(self, *rest: Exception):
        self.headers = {"Content-Length": "1000"}
        self.parts = [b"x" * 400, *rest]

    def __call__(self, *_: Any, **__: Any) -> "Broken":
        return self

    def __enter__(self) -> "Broken":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def read(self, size: int) -> bytes:
        part = self.parts.pop(0) if self.parts else b""
        if isinstance(part, Exception):
            raise part
        return part


@pytest.mark.parametrize(
    "opener, words",
    [
        (http_error, "HTTP Error 404: Not Found"),
        (Broken(), "the connection broke off after 400 of 1000 bytes"),
        (Broken(TimeoutError("timed out")), "timed out"),
        (Broken(ConnectionResetError("connection reset")), "connection reset"),
    ],
)
def test_downloads_that_fail(
    release: Release, opener: Callable[..., Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "urlopen", opener)
    assert f"cannot be fetched ({words})" in refusal(release)
    assert kept() == []


def test_ctrl_c_leaves_nothing(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Broken):
        def read(self, size: int) -> bytes:
            raise KeyboardInterrupt

    monkeypatch.setattr(cache, "urlopen", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        fetch(release)
    assert kept() == []


def test_a_cache_that_cannot_be_written(release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TOKEN_SEPARATION_CACHE", str(tmp_path / "file"))
    assert "cannot be written" in refusal(release)


def _fetch(release: Release) -> bytes:
    return fetch(release).read_bytes()


def test_processes_that_fetch_at_once(release: Release) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(_fetch, [release] * 6, chunksize=1) == [CONTENT] * 6
    assert kept() == [release.file]
