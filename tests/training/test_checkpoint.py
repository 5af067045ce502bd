"""Checkpoints that are there in full, or not at all, and never run code."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from toy import toy_config

from codec_ft.atomic import TEMPORARY_PREFIX
from codec_ft.errors import UserError
from codec_ft.training.checkpoint import load_checkpoint, save_checkpoint
from codec_ft.training.run_folder import open_run

STATE = {"step": 3, "name": "a", "none": None, "list": [1, 2.5, True], "weights": {"w": torch.arange(1000.0)}}


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(path, STATE)
    again = load_checkpoint(path)
    assert torch.equal(again["weights"].pop("w"), torch.arange(1000.0))
    assert again == {"step": 3, "name": "a", "none": None, "list": [1, 2.5, True], "weights": {}}
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"best\.pt: no such checkpoint"):
        load_checkpoint(tmp_path / "best.pt")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_file_cut_short(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"last\.pt: broken or cut short\. Put a copy"):
        load_checkpoint(path)


class Harm:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    torch.save({"step": 1, "modules": Harm(harm)}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="more than plain data and is refused, because it could run code"):
        load_checkpoint(tmp_path / "last.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Harm(harm)))
    with pytest.raises(UserError, match="broken"):
        load_checkpoint(tmp_path / "old.pt")
    assert not harm.exists()
    torch.load(tmp_path / "last.pt", weights_only=False)
    assert harm.exists(), "the file was harmless, the test shows nothing"


def test_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, STATE)
    before = path.read_bytes()
    # Every write to the temporary file meets a real full device.
    (tmp_path / f"{TEMPORARY_PREFIX}{os.getpid()}-last.pt").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"last\.pt: the disk is full; what stood there before is untouched"):
        save_checkpoint(path, {**STATE, "step": 4})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


SLOW_SAVE = """
import sys, time, torch
from pathlib import Path
from codec_ft.training import checkpoint

def slow(state, file):
    file.write(b"half of it")
    file.flush()
    time.sleep(60)

checkpoint.torch.save = slow
checkpoint.save_checkpoint(Path(sys.argv[1]), {"step": 4})
"""


def test_kill_while_saving(tmp_path: Path) -> None:
    config = toy_config(tmp_path / "run")
    path = open_run(config).checkpoints / "last.pt"
    save_checkpoint(path, STATE)
    process = subprocess.Popen([sys.executable, "-c", SLOW_SAVE, path])
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size for file in path.parent.glob(f"{TEMPORARY_PREFIX}*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(path.parent.iterdir())) == 2
    assert load_checkpoint(path)["step"] == 3
    open_run(config)  # the next start clears up
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]
