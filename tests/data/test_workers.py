import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from codec_ft.data.workers import available_cores, worker_processes
from codec_ft.errors import UserError


def process_id(item: int) -> tuple[int, int]:
    return item, os.getpid()


def end_abruptly(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_job_works_in_this_process() -> None:
    with worker_processes(1) as run:
        assert list(run(process_id, range(3))) == [(n, os.getpid()) for n in range(3)]


def test_jobs_work_in_other_processes_and_keep_the_order() -> None:
    with worker_processes(2) as run:
        results = list(run(process_id, range(6)))
    assert [item for item, _ in results] == list(range(6))
    assert os.getpid() not in {pid for _, pid in results}


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(UserError, match="fewer jobs"), worker_processes(2) as run:
        list(run(end_abruptly, range(2)))


def test_at_least_one_core_is_available() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "from codec_ft.data.workers import worker_processes\n"
        "if __name__ == '__main__':\n"
        "    with worker_processes(2) as run:\n"
        "        print(len(list(run(time.sleep, [0.1, 0.1]))), flush=True)\n"
        "        time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "2\n"
    parent.kill()
    # The workers have the parent's output open: it ends with the last of them.
    assert parent.communicate(timeout=20) == ("", None)
