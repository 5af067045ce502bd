"""Files that are there in full or not at all, and errors for the person who can mend them."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from codec_ft.atomic import TEMPORARY_PREFIX, atomic_path
from codec_ft.errors import UserError, told_to_the_user


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent and temporary.suffix == ".txt" and not path.exists()
    assert path.read_text() == "whole" and names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("problem", [ValueError("no"), KeyboardInterrupt(), OSError(errno.EIO, "broken disk")])
def test_error_inside_leaves_the_old_file(tmp_path: Path, problem: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(problem)), atomic_path(path) as temporary:
        temporary.write_text("ne")
        raise problem
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_full_disk_while_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    (tmp_path / f"{TEMPORARY_PREFIX}{os.getpid()}-a.txt").symlink_to("/dev/full")
    with (
        pytest.raises(UserError, match=r"a\.txt: the disk is full; what stood there before is untouched\. Free"),
        atomic_path(path) as temporary,
    ):
        temporary.write_text("new" * 10000)
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_full_disk_while_renaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("codec_ft.atomic.os.replace", full)
    with pytest.raises(UserError, match="disk is full"), atomic_path(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_full_disk_in_the_words_of_a_library(tmp_path: Path) -> None:
    """safetensors and torch wrap the system's error in one of their own."""
    with pytest.raises(UserError, match="disk is full"), atomic_path(tmp_path / "a.safetensors"):
        raise RuntimeError('Error while serializing: I/O error: "No space left on device (os error 28)"')
    with (
        pytest.raises(UserError, match="disk is full"),
        atomic_path(tmp_path / "a.pt"),
        open("/dev/full", "wb") as full,
    ):
        torch.save({"a": torch.zeros(100_000)}, full)


def test_safetensors_are_replaced_whole(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        with atomic_path(tmp_path / "a.safetensors") as temporary:
            save_file({"a": torch.tensor([value])}, temporary)
    assert names(tmp_path) == ["a.safetensors"]


def test_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    advice = r"a\.txt: cannot be written .*Choose another folder"
    with pytest.raises(UserError, match=advice), atomic_path(tmp_path / "file" / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "file").read_text() == "not a folder"


def test_user_errors_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, told_to_the_user():
        raise UserError("a.wav: is empty. Delete it.")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: a.wav: is empty. Delete it.\n"


def test_full_disk_anywhere_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, told_to_the_user(), open("/dev/full", "a") as log:
        log.write("a line")
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: the disk is full") and message.count("\n") == 1


def test_mistakes_of_ours_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), told_to_the_user():
        raise ZeroDivisionError
