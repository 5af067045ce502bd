"""Moving averages, by hand."""

import pytest
import torch
from torch import nn

from codec_ft.training.ema import Ema


class Two(nn.Module):
    """One number that is trained, one that is frozen, one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.trained = nn.Parameter(torch.tensor([0.0]))
        self.frozen = nn.Parameter(torch.tensor([5.0]), requires_grad=False)
        self.register_buffer("seen", torch.tensor([0.0]))


def test_average_by_hand() -> None:
    module = Two()
    ema = Ema(module, decay=0.25)
    with torch.no_grad():
        module.trained.fill_(11.0)
        ema.update()  # decay min(.25, 2/11) = 2/11: 9/11 of the way from 0 to 11
        assert float(ema.average["trained"]) == pytest.approx(9.0)
        module.trained.fill_(1.0)
        ema.update()  # decay min(.25, 3/12) = 1/4
        assert float(ema.average["trained"]) == pytest.approx(0.25 * 9 + 0.75 * 1)
        ema.update()  # decay min(.25, 4/13) = 1/4
        assert float(ema.average["trained"]) == pytest.approx(0.25 * 3 + 0.75 * 1)
    assert list(ema.average) == ["trained"]


def test_applied_lends_the_average_and_gives_the_weights_back() -> None:
    module = Two()
    ema = Ema(module, decay=0.9)
    with torch.no_grad():
        module.trained.fill_(4.0)
        module.seen.fill_(7.0)
    with pytest.raises(RuntimeError, match="inside"), ema.applied():
        assert float(module.trained.detach()) == 0.0
        assert float(module.seen) == 7.0  # buffers stay the module's own
        raise RuntimeError("inside")
    assert float(module.trained.detach()) == 4.0


def test_goes_on_from_its_state() -> None:
    first, second = Ema(Two(), decay=0.9), Ema(Two(), decay=0.9)
    with torch.no_grad():
        first.module.trained.fill_(3.0)
    first.update()
    second.load_state_dict(first.state_dict())
    assert second.updates == 1
    for ema in (first, second):
        with torch.no_grad():
            ema.module.trained.fill_(8.0)
        ema.update()
    assert torch.equal(first.average["trained"], second.average["trained"])
