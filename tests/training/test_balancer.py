"""The loss balancer against closed forms: quadratic losses, whose gradients are known."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from codec_ft.training.balancer import Balancer


def gradient(balancer: Balancer, losses: dict[str, Tensor], output: Tensor) -> Tensor:
    """Of what the balancer makes of the losses, with respect to the output."""
    return torch.autograd.grad(balancer(losses, output), output)[0]


def quadratic(output: Tensor, target: Tensor, scale: float = 1.0) -> Tensor:
    """Its gradient is `scale * (output - target)`."""
    return scale * 0.5 * (output - target).square().sum()


def norm(audio: Tensor) -> float:
    """Mean over the batch of the items' lengths."""
    return audio.flatten(1).norm(dim=1).mean().item()


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("total_norm", [1.0, 5.0])
def test_the_gradient_is_shared_as_the_weights_say_whatever_the_scale(scale: float, total_norm: float) -> None:
    output = torch.zeros(3, 1, 50, requires_grad=True)
    towards = [noise(3, 1, 50, seed=1), noise(3, 1, 50, seed=2)]
    balancer = Balancer({"a": 3.0, "b": 1.0}, total_norm=total_norm)
    losses = {"a": quadratic(output, towards[0], scale), "b": quadratic(output, towards[1], 7.0)}
    found = gradient(balancer, losses, output)
    # At zero the gradients are minus the targets; each is brought to a mean length of one, and then to its share.
    wanted = [total_norm * share * -target / norm(target) for share, target in zip((0.75, 0.25), towards, strict=True)]
    torch.testing.assert_close(found, wanted[0] + wanted[1])
    assert norm(wanted[0]) == pytest.approx(0.75 * total_norm) and norm(wanted[1]) == pytest.approx(0.25 * total_norm)
    assert {name: share.item() for name, share in balancer.shares.items()} == pytest.approx({"a": 0.75, "b": 0.25})


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_an_item_gets_a_gradient_of_the_same_length_in_any_batch(batch: int) -> None:
    output = torch.zeros(batch, 1, 20, requires_grad=True)
    found = gradient(Balancer({"a": 2.0}), {"a": (output - 1).square().mean()}, output)
    assert found.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0] * batch)


def test_loud_and_quiet_items_keep_their_proportion() -> None:
    output = torch.zeros(2, 1, 4, requires_grad=True)
    targets = torch.tensor([[[3.0, 0, 0, 0]], [[0, 1.0, 0, 0]]])
    found = gradient(Balancer({"a": 1.0}), {"a": quadratic(output, targets)}, output)
    torch.testing.assert_close(found, -targets / 2)  # the mean of their lengths, 3 and 1, becomes 1


def test_norms_are_averaged_over_calls_without_bias() -> None:
    balancer = Balancer({"a": 1.0}, decay=0.5)
    output = torch.zeros(1, 1, 1, requires_grad=True)
    lengths = [8.0, 2.0, 2.0, 8.0]
    found = [gradient(balancer, {"a": length * output.sum()}, output).item() for length in lengths]
    # Averages: 8; (8/2 + 2) / 1.5 = 4; (8/4 + 2/2 + 2) / 1.75 = 20/7; (8/8 + 2/4 + 2/2 + 8) / 1.875 = 5.6.
    assert found == pytest.approx([1.0, 2 / 4, 2 * 7 / 20, 8 / 5.6])


def test_shares_follow_the_batch() -> None:
    balancer = Balancer({"a": 1.0, "b": 1.0}, decay=0.5)
    output = torch.zeros(1, 1, 1, requires_grad=True)
    for a in (1.0, 4.0):
        balancer({"a": a * output.sum(), "b": output.sum()}, output)
    # The average of a is (1/2 + 4) / 1.5 = 3, of which the batch has 4/3; b has what it always had.
    shares = balancer.shares
    assert shares["a"].item() == pytest.approx(4 / 7) and shares["b"].item() == pytest.approx(3 / 7)
    assert not shares["a"].requires_grad


def test_gradients_pass_through_the_model_and_only_through_the_output() -> None:
    """y = w x: dL/dw is the balanced gradient of y times x, and the losses' own parameters get none."""
    weight, critic = torch.tensor(2.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    x = torch.tensor([[[1.0, 2.0]], [[2.0, 1.0]]])
    output = weight * x
    total = Balancer({"a": 1.0, "b": 3.0})({"a": output.sum(), "b": -(critic * output).sum()}, output)
    total.backward()
    # Both gradients are of length sqrt(2) per item: a pushes by 1/4, b by -3/4, each over sqrt(2).
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx((0.25 - 0.75) / math.sqrt(2) * x.sum().item())
    assert critic.grad is None


def test_the_value_is_the_sum_of_rescaled_losses() -> None:
    output = torch.full((1, 1, 4), 2.0, requires_grad=True)
    losses = {"a": output.sum(), "b": 10 * output.sum()}  # 8 and 80, with gradients of length 2 and 20
    assert Balancer({"a": 1.0, "b": 1.0})(losses, output).item() == pytest.approx(0.5 * 8 / 2 + 0.5 * 80 / 20)


def test_a_loss_without_gradient_does_no_harm() -> None:
    balancer = Balancer({"alive": 1.0, "dead": 1.0})
    output = torch.ones(2, 1, 3, requires_grad=True)
    losses = {"alive": output.sum(), "dead": (output - 5).relu().sum() + 0 * output.sum() + 4}
    for _ in range(2):
        total = balancer(losses, output)
        found = torch.autograd.grad(total, output)[0]
        torch.testing.assert_close(found, torch.full_like(found, 0.5 / math.sqrt(3)))
        assert total.item() == pytest.approx(0.5 * 6 / math.sqrt(3))
        assert balancer.shares["dead"].item() == 0.0 and balancer.shares["alive"].item() == pytest.approx(1.0)
    nothing = Balancer({"dead": 1.0})
    assert not gradient(nothing, {"dead": losses["dead"]}, output).any()
    assert nothing.shares["dead"].item() == 0.0


def test_a_loss_that_is_not_given_leaves_its_share_to_the_others() -> None:
    balancer = Balancer({"mel": 1.0, "adversarial": 3.0})
    output = torch.zeros(1, 1, 1, requires_grad=True)
    assert gradient(balancer, {"mel": 5 * output.sum()}, output).item() == pytest.approx(1.0)
    both = {"mel": 5 * output.sum(), "adversarial": 0.1 * output.sum()}
    assert gradient(balancer, both, output).item() == pytest.approx(1.0)
    assert balancer.shares["adversarial"].item() == pytest.approx(0.75)  # its average knows of no earlier call
    assert gradient(balancer, {"adversarial": both["adversarial"]}, output).item() == pytest.approx(1.0)


def test_an_overflow_does_not_stay() -> None:
    balancer = Balancer({"a": 1.0}, decay=0.9)
    output = torch.zeros(1, 1, 1, requires_grad=True)
    gradient(balancer, {"a": 2 * output.sum()}, output)
    for bad in (math.inf, math.nan):
        assert not gradient(balancer, {"a": bad * output.sum()}, output).isfinite().any()  # the loop is to see it
    assert gradient(balancer, {"a": 2 * output.sum()}, output).item() == pytest.approx(1.0)


def test_it_learns_in_training_mode_only() -> None:
    balancer = Balancer({"a": 1.0})
    output = torch.zeros(1, 1, 1, requires_grad=True)
    balancer.eval()
    assert gradient(balancer, {"a": 3 * output.sum()}, output).item() == pytest.approx(1.0)  # by its own norm
    balancer.train()
    gradient(balancer, {"a": 2 * output.sum()}, output)
    balancer.eval()
    for _ in range(3):
        assert gradient(balancer, {"a": 6 * output.sum()}, output).item() == pytest.approx(3.0)


def test_a_weighted_sum_leads_back_every_way_there_is() -> None:
    """A layer behind the output: the output gets what it gets from `forward`, and the layer its own loss's gradient."""
    target = noise(3, 1, 50, seed=1)
    layer = torch.tensor(2.0, requires_grad=True)
    found = []
    for combine in (Balancer.forward, Balancer.weighted_sum):
        output = torch.zeros(3, 1, 50, requires_grad=True)
        losses = {"near": quadratic(output, target, 4.0), "behind": (layer * output).sum() + 3 * layer}
        balancer = Balancer({"near": 1.0, "behind": 3.0}, total_norm=2.0)
        total = combine(balancer, losses, output)
        found.append(torch.autograd.grad(total, [output, layer], allow_unused=True))
        # Lengths of the gradients at zero: those of the targets times 4, and 2 times the root of 50.
        factors = 2.0 * 0.25 / (4 * norm(target)), 2.0 * 0.75 / (2 * math.sqrt(50))
        value = factors[0] * losses["near"] + factors[1] * losses["behind"]
        assert total.item() == pytest.approx(value.item(), rel=1e-5)
    (surrogate, no_way), (output_gradient, layer_gradient) = found
    torch.testing.assert_close(surrogate, output_gradient)
    assert no_way is None and layer_gradient.item() == pytest.approx(3 * factors[1], rel=1e-5)


def test_a_weighted_sum_learns_and_refuses_as_the_rest_does() -> None:
    balancer = Balancer({"a": 1.0, "off": 0.0}, decay=0.5)
    output = torch.zeros(1, 1, 1, requires_grad=True)
    values = [balancer.weighted_sum({"a": length * (output + 1).sum()}, output).item() for length in (8.0, 2.0)]
    assert values == pytest.approx([1.0, 2 / 4])  # averages 8 and (8/2 + 2) / 1.5 = 4
    assert balancer.shares["a"].item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="do not fit the balancer's weights"):
        balancer.weighted_sum({"typo": output.sum()}, output)


def test_it_goes_on_from_its_state() -> None:
    output = torch.zeros(2, 1, 5, requires_grad=True)

    def run(balancer: Balancer, steps: range) -> list[Tensor]:
        return [
            gradient(balancer, {"a": quadratic(output, noise(2, 1, 5, seed=i)), "b": (i + 1) * output.sum()}, output)
            for i in steps
        ]

    balancer = Balancer({"a": 1.0, "b": 2.0}, decay=0.7)
    run(balancer, range(4))
    resumed = Balancer({"a": 1.0, "b": 2.0}, decay=0.7)
    resumed.load_state_dict(balancer.state_dict())
    for uninterrupted, later in zip(run(balancer, range(4, 8)), run(resumed, range(4, 8)), strict=True):
        torch.testing.assert_close(uninterrupted, later, rtol=0, atol=0)


def test_half_precision_outputs() -> None:
    output = torch.zeros(2, 1, 400, dtype=torch.bfloat16, requires_grad=True)
    balancer = Balancer({"a": 1.0, "b": 1.0})
    total = balancer({"a": output.float().sum(), "b": 1e-3 * output.float().sum()}, output)
    assert total.dtype == torch.float32
    found = torch.autograd.grad(total, output)[0]
    assert found.float().flatten(1).norm(dim=1).tolist() == pytest.approx([1.0, 1.0], rel=0.01)


@pytest.mark.parametrize(
    "options",
    [
        {"weights": {}},
        {"weights": {"a": 0.0}},
        {"weights": {"a": 1.0, "b": -1.0}},
        {"weights": {"a": 1.0}, "total_norm": 0.0},
        {"weights": {"a": 1.0}, "decay": 1.0},
    ],
)
def test_bad_options_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=r"weights must not be negative|total_norm=.* must be above 0"):
        Balancer(**options)


@pytest.mark.parametrize("names", [["a", "typo"], [], ["off"]])
def test_losses_that_do_not_fit_the_weights_are_refused(names: list[str]) -> None:
    output = torch.zeros(1, 1, 1, requires_grad=True)
    with pytest.raises(ValueError, match="do not fit the balancer's weights"):
        Balancer({"a": 1.0, "off": 0.0})({name: output.sum() for name in names}, output)


def _process(rank: int, folder: Path) -> None:
    """Of two: one sees gradients of length 1, the other of length 3."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    balancer = Balancer({"a": 1.0})
    output = torch.zeros(1, 1, 1, requires_grad=True)
    found = [gradient(balancer, {"a": (1 + 2 * rank) * output.sum()}, output).item() for _ in range(2)]
    torch.save({"gradients": found, "state": balancer.state_dict()}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_processes_share_their_averages(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_process, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(first["state"], second["state"], rtol=0, atol=0)
    # Over their mean of 2, so that the mean of both gradients has length one.
    assert first["gradients"] == pytest.approx([0.5, 0.5]) and second["gradients"] == pytest.approx([1.5, 1.5])
