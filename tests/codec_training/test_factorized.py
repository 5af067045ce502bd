"""Factorised codes: their choice, loss terms, gradients and use, on examples small enough to work by hand."""

import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from transformers import DacConfig
from transformers.models.dac.modeling_dac import DacResidualVectorQuantizer

from codec_ft.codec_training.dac_model import DacShape, make_dac
from codec_ft.codec_training.factorized import FactorizedConfig, FactorizedLearner
from codec_ft.codecs.dac import DacCodec

EAST, NORTH, WEST, SOUTH = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]


def make_learner(codebooks: list[list[list[float]]], *, factor: float = 1.0, **options: float) -> FactorizedLearner:
    """A learner with these codes, whose projections multiply by `factor` and divide by it; it drops no layers."""
    tables = [torch.tensor(book) for book in codebooks]
    size, dim = tables[0].shape
    config = DacConfig(codebook_size=size, codebook_dim=dim, n_codebooks=len(tables), hidden_size=dim)
    quantizer = DacResidualVectorQuantizer(config)
    with torch.no_grad():
        for layer, table in zip(quantizer.quantizers, tables, strict=True):
            layer.in_proj.weight.copy_(factor * torch.eye(dim)[..., None])
            layer.out_proj.weight.copy_(torch.eye(dim)[..., None] / factor)
            layer.in_proj.bias.zero_()
            layer.out_proj.bias.zero_()
            layer.codebook.weight.copy_(table)
    return FactorizedLearner(quantizer, FactorizedConfig(**({"dropout": 0.0} | options))).train()


def points(*vectors: list[float]) -> Tensor:
    """Latents `[1, D, T]` that are these vectors, one per frame."""
    return torch.tensor(vectors).T[None]


def assert_vectors(found: Tensor, *expected: list[float]) -> None:
    """`found [1, D, T]` holds these vectors."""
    torch.testing.assert_close(found, points(*expected))


# What is chosen


def test_the_direction_chooses_and_the_code_keeps_its_length() -> None:
    learner = make_learner([[[5.0, 0.0], [0.0, 0.2]]])
    # The second point is closer to (0, 0.2), but its direction is that of (5, 0).
    found = learner(points([0.0, 3.0], [0.2, 0.1]))
    assert found.codes is not None and found.codes.tolist() == [[[1, 0]]]
    assert_vectors(found.latents, [0.0, 0.2], [5.0, 0.0])


def test_the_next_layer_codes_what_is_left_over() -> None:
    learner = make_learner([[[2.0, 0.0], [0.0, 2.0]], [[0.0, -1.0], [0.5, 0.0]]])
    found = learner(points([3.0, 0.1], [1.0, 4.0]))  # left over: (1, 0.1) and (1, 2)
    assert found.codes is not None and found.codes.tolist() == [[[0, 1], [1, 1]]]
    assert_vectors(found.latents, [2.5, 0.0], [0.5, 2.0])


def test_codes_are_chosen_in_the_projected_space() -> None:
    learner = make_learner([[[20.0, 0.0], [0.0, 20.0]]], factor=10.0)
    assert_vectors(learner(points([3.0, 0.1])).latents, [2.0, 0.0])


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_in_evaluation_it_is_the_quantiser_of_the_frozen_codec_and_of_transformers(seed: int) -> None:
    torch.manual_seed(seed)
    model = make_dac(DacShape(strides=(2, 4), encoder_channels=4, decoder_channels=8, n_codebooks=4, codebook_size=64))
    latents = torch.randn(3, 16, 50)
    found = FactorizedLearner(model.quantizer, FactorizedConfig()).eval()(latents)
    assert found.codes is not None
    theirs = model.quantizer.eval()(latents)
    assert torch.equal(found.codes, theirs[1])
    torch.testing.assert_close(found.latents, theirs[0])
    torch.testing.assert_close(found.commitment, theirs[3][0])
    torch.testing.assert_close(found.codebook, theirs[4][0])
    codes, quantized = DacCodec(model, "test").quantize(latents)
    assert torch.equal(found.codes, codes)
    torch.testing.assert_close(found.latents, quantized)


# Loss terms and gradients


def test_the_terms_by_hand() -> None:
    learner = make_learner([[[4.0, 0.0], [0.0, 4.0]], [[0.0, 1.0], [1.0, 0.0]]])
    # (3, 1) is 1, 1 away from (4, 0), (-1, 1) is left; of the layer's codes (0, 1) is nearest: 1, 0 away.
    # (0, 6) is 0, 2 away from (0, 4), (0, 2) is left: 0, 1 away from (0, 1).
    found = learner(points([3.0, 1.0], [0.0, 6.0]))
    first, second = (1 + 1 + 0 + 4) / 4, (1 + 0 + 0 + 1) / 4  # means over two values of two frames
    assert found.commitment.item() == pytest.approx(first + second)
    assert found.codebook.item() == pytest.approx(first + second)


def test_commitment_moves_the_encoder_and_the_codebook_term_moves_the_codes() -> None:
    learner = make_learner([[[4.0, 0.0], [0.0, 4.0]]])
    latents = points([3.0, 1.0]).requires_grad_()
    table = learner.layers[0].codebook.weight
    found = learner(latents)
    found.commitment.backward(retain_graph=True)
    assert latents.grad is not None and table.grad is None
    torch.testing.assert_close(latents.grad, points([-1.0, 1.0]))  # d/dx of ((x - 4)^2 + (y - 0)^2) / 2
    latents.grad = None
    found.codebook.backward()
    assert latents.grad is None and table.grad is not None
    torch.testing.assert_close(table.grad, torch.tensor([[1.0, -1.0], [0.0, 0.0]]))


@pytest.mark.parametrize("detach, passes", [(False, 1.0), (True, 2.0)])
def test_two_layers_pass_the_gradient_once_as_published_and_twice_if_detached(detach: bool, passes: float) -> None:
    # Straight-through, each layer is the identity, and as published nothing of it is left for the second one.
    learner = make_learner([[EAST, NORTH], [EAST, NORTH]], factor=3.0, detach_residual=detach)
    latents = (torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(0))).requires_grad_()
    weights = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(1))
    (learner(latents).latents * weights).sum().backward()
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad, passes * weights)


def test_a_reconstruction_trains_the_projections_but_not_the_codes() -> None:
    learner = make_learner([[EAST, NORTH]])
    learner(points([3.0, 1.0])).latents.sum().backward()
    layer = learner.layers[0]
    assert layer.in_proj.weight.grad is not None and layer.out_proj.weight.grad is not None
    assert layer.codebook.weight.grad is None


# Quantiser dropout

LAYERS = [[[4.0, 0.0], [0.0, 4.0]], [[2.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]]


def test_dropout_uses_the_first_layers_of_each_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec_ft.codec_training.factorized.layers_used", lambda *_: torch.tensor([1, 2, 3]))
    found = make_learner(LAYERS)(torch.tensor([9.0, 0.0])[None, :, None].repeat(3, 1, 1))
    assert found.codes is not None and found.codes.tolist() == [[[0], [0], [0]]] * 3
    assert found.latents[:, 0, 0].tolist() == [4.0, 6.0, 7.0]
    # 5, 3 and 2 away, in one of two dimensions; the first item commits to one layer, the last to three.
    assert found.commitment.item() == pytest.approx(((25) + (25 + 9) + (25 + 9 + 4)) / 2 / 3)


def test_layers_are_dropped_while_it_learns_only() -> None:
    torch.manual_seed(0)
    learner = make_learner(LAYERS, dropout=1.0)
    latents = torch.tensor([9.0, 0.0])[None, :, None].repeat(60, 1, 1)
    assert set(learner(latents).latents[:, 0, 0].tolist()) == {4.0, 6.0, 7.0}
    assert set(learner(latents, learn=False).latents[:, 0, 0].tolist()) == {7.0}
    assert set(learner.eval()(latents).latents[:, 0, 0].tolist()) == {7.0}


# The start


def test_without_codes_the_projections_pass_the_latents() -> None:
    learner = make_learner([[EAST, NORTH], [EAST, NORTH]], factor=3.0, start_step=2, kmeans_vectors=8)
    latents = points([0.3, 0.4], [-5.0, 1.0]).requires_grad_()
    found = learner(latents)
    assert found.codes is None and found.commitment == 0 and found.perplexity.tolist() == found.dead.tolist() == [0, 0]
    torch.testing.assert_close(found.latents, latents)
    (found.latents.sum() + found.codebook).backward()
    assert all(parameter.grad is not None for parameter in learner.parameters())
    assert not learner.layers[0].codebook.weight.grad.any()  # type: ignore[union-attr]


def test_codebooks_start_with_clusters_of_directions() -> None:
    torch.manual_seed(3)
    learner = make_learner([[SOUTH] * 3] * 2, factor=2.0, start_step=2, kmeans_vectors=64)
    directions = torch.tensor([EAST, NORTH, [-0.6, -0.8]])
    lengths = torch.linspace(1.0, 3.0, 5)
    latents = (lengths[:, None, None] * directions).flatten(0, 1).T[None]  # [1, 2, 15]
    learner.eval()(latents)
    assert int(learner.step) == 0
    learner.train()
    assert learner(latents).codes is None and learner(latents).codes is None
    assert int(learner.step) == 2 and {"step", "recent"} <= learner.state_dict().keys()
    found = learner(latents)
    assert found.codes is not None and found.codes[0, 0].unique().numel() == 3, (
        "a start in two directions; take another seed"
    )
    # Projected, the vectors are twice as long: 2, 3, ... 6, on the average 4.
    table = learner.layers[0].codebook.weight.detach()
    for direction in directions:
        assert (table - 4 * direction).norm(dim=1).min() < 1e-5
    # Of the residuals, -2 ... 2 along each direction, the second layer takes some away.
    before = (latents - 2 * directions.repeat(5, 1).T[None]).norm()
    assert (latents - found.latents).norm() < 0.8 * before


def test_codes_that_are_there_are_kept() -> None:
    batch = points([9.0, 0.0])
    assert make_learner(LAYERS, start_step=5)(batch, learn=False).latents[0, 0, 0] == 7.0
    learner = make_learner(LAYERS, start_step=5)
    learner.go_on()
    assert learner(batch).latents[0, 0, 0] == 7.0
    assert learner.layers[0].codebook.weight.tolist() == LAYERS[0]


# The use of codes


def test_use_is_a_moving_average_in_units_of_an_even_use() -> None:
    learner = make_learner([[EAST, NORTH, WEST, SOUTH]], decay=0.75, dead_share=0.5)
    batch = points(EAST, EAST, EAST, NORTH)  # 3, 1, 0, 0 of an even use of one
    found = learner(batch)
    assert learner.use[0].tolist() == pytest.approx([1.5, 1.0, 0.75, 0.75])
    assert found.dead.tolist() == [0]
    learner(batch)
    found = learner(batch)
    # Three quarters to the power of three is .42, below a half.
    assert learner.use[0].tolist() == pytest.approx([1 + 2 * (1 - 0.421875), 1.0, 0.421875, 0.421875])
    assert found.dead.tolist() == [2] and found.replaced == 0
    assert learner.layers[0].codebook.weight.tolist() == [EAST, NORTH, WEST, SOUTH], "published: nothing is replaced"
    assert found.perplexity.item() == pytest.approx(4 / 27**0.25)


def test_dead_codes_move_to_what_the_layer_sees() -> None:
    learner = make_learner([[EAST, NORTH, WEST, SOUTH]], factor=2.0, decay=0.5, dead_share=0.6, replace_dead=True)
    batch = points([5.0, 0.1], [5.0, 0.2], [5.0, 0.3], [0.0, 1.0])
    found = learner(batch)  # uses: 2, 1, 0.5, 0.5
    assert found.codes is not None and found.codes.tolist() == [[[0, 0, 0, 1]]]
    assert found.dead.tolist() == [2] and found.replaced == 2
    table = learner.layers[0].codebook.weight
    assert table[:2].tolist() == [EAST, NORTH]
    projected = {tuple(vector) for vector in (2 * batch[0].T).tolist()}
    assert {tuple(vector) for vector in table[2:].tolist()} <= projected
    assert learner.use[0].tolist() == pytest.approx([2.0, 1.0, 1.0, 1.0])


def test_replacing_leaves_the_gradient_of_the_step_alone() -> None:
    batch = points([5.0, 0.1], [5.0, 0.2], [0.0, 1.0])
    gradients = []
    for replace in (False, True):
        learner = make_learner([[EAST, NORTH, WEST, SOUTH]], decay=0.5, dead_share=0.6, replace_dead=replace)
        found = learner(batch)
        assert found.replaced == 2 * replace
        (found.latents.sum() + found.codebook + found.commitment).backward()
        gradients.append([parameter.grad for parameter in learner.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_without_learning_nothing_changes() -> None:
    learner = make_learner([[EAST, NORTH, WEST, SOUTH]], decay=0.5, dead_share=0.6, replace_dead=True, dropout=1.0)
    learner.use.copy_(torch.tensor([[2.0, 1.0, 0.1, 0.9]]))
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    assert "use" in before, "a run that is resumed goes on counting"
    for found in (learner(points([3.0, 1.0]), learn=False), learner.eval()(points([3.0, 1.0]))):
        assert found.dead.tolist() == [1] and found.replaced == 0
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_the_variance_of_the_latents() -> None:
    latents = points([1.0, 2.0], [3.0, 4.0])
    assert make_learner([[EAST, NORTH]])(latents).log_variance.exp().item() == pytest.approx(5 / 3)


# Several processes


def batch_of(step: int, rank: int) -> Tensor:
    return torch.randn(3, 2, 20, generator=torch.Generator().manual_seed(10 * step + rank))


def learn_in_a_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.manual_seed(rank)  # as in the training loop, each process draws its own numbers
    learner = make_learner([[EAST, NORTH, [1.0, 0.01], [1.0, 0.02]]], decay=0.5, dead_share=0.5, replace_dead=True)
    counting = make_learner([[EAST, NORTH, WEST, SOUTH]], decay=0.5)
    counting(batch_of(0, rank))
    first = learner(batch_of(0, rank))
    replaced = first.replaced + sum(learner(batch_of(step, rank)).replaced for step in range(1, 4))
    torch.save({"counted": counting.use, "replaced": replaced, **learner.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_replace_the_same_codes_by_the_use_of_both(tmp_path: Path) -> None:
    # Forked, because a process that starts from nothing imports for seconds.
    both = mp.start_processes(learn_in_a_process, args=(str(tmp_path),), nprocs=2, join=False, start_method="fork")
    deadline = time.monotonic() + 60
    try:
        while not both.join(timeout=1):
            assert time.monotonic() < deadline, "the processes wait for each other"
    finally:
        for process in both.processes:
            process.kill()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["replaced"] == second["replaced"] > 0, "choose data in which codes die"
    assert all(torch.equal(value, second[name]) for name, value in first.items() if name != "replaced")
    alone = make_learner([[EAST, NORTH, WEST, SOUTH]], decay=0.5)
    alone(torch.cat([batch_of(0, 0), batch_of(0, 1)]))
    torch.testing.assert_close(first["counted"], alone.use)
