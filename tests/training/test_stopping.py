"""Stopping politely."""

import signal
import threading

import pytest

from codec_ft.training.stopping import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_the_second_one_stops(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        with StopRequest() as stop:
            assert not stop
            signal.raise_signal(number)
            assert stop
            assert "Stopping after this step" in capfd.readouterr().err
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_signals_are_ours_only_inside_the_block() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_other_threads_may_train_too() -> None:
    found = []

    def work() -> None:
        with StopRequest() as stop:
            found.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
