"""Stopping a training politely."""

import os
import signal
from types import FrameType


class StopRequest:
    """True once SIGINT (Ctrl-C) or SIGTERM arrived inside the block; a second one stops at once.

    The loop then finishes its step and writes a checkpoint. Outside the main thread signals are not ours to
    catch, and nothing is.
    """

    def __init__(self) -> None:
        self._requested = False
        self._before: dict[int, object] = {}

    def __bool__(self) -> bool:
        return self._requested

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._on_signal)
            except ValueError:
                break  # not the main thread
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        os.write(2, b"\nStopping after this step; once more stops at once.\n")  # print is not safe in a handler
        self._requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}


def leave_ctrl_c_to_parent(worker: int) -> None:
    """In a process that reads data: Ctrl-C reaches it too, but the step that is finished may still need its data.

    SIGTERM it obeys, because that is how torch ends it.
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
