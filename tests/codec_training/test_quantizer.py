"""Learning codebooks: k-means, moving averages, dead codes and gradients on examples small enough to work by hand."""

import math
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from transformers import EncodecConfig
from transformers.models.encodec.modeling_encodec import EncodecResidualVectorQuantizer

from codec_ft.codec_training import quantizer
from codec_ft.codec_training.quantized import perplexity
from codec_ft.codec_training.quantizer import CodebookLearner, QuantizerConfig, kmeans, layers_used


def make_learner(codebooks: list[list[list[float]]], *, started: bool = True, **options: float) -> CodebookLearner:
    """A learner whose layers have these codes; unless told otherwise it has started and drops no layers."""
    tables = [torch.tensor(book) for book in codebooks]
    (size, dim), n_layers = tables[0].shape, len(tables)
    bits = 100 * math.ceil(math.log2(size)) * n_layers
    config = EncodecConfig(
        sampling_rate=200, upsampling_ratios=[2], hidden_size=dim, codebook_size=size, target_bandwidths=[bits / 1000]
    )
    quantizer = EncodecResidualVectorQuantizer(config)
    assert len(quantizer.layers) == n_layers
    for layer, table in zip(quantizer.layers, tables, strict=True):
        layer.codebook.embed.copy_(table)
        layer.codebook.embed_avg.copy_(table)
        layer.codebook.cluster_size.fill_(1.0)
    settings = {"start_step": 0, "kmeans_vectors": 64, "dropout": 0.0} | options
    learner = CodebookLearner(quantizer, dim, QuantizerConfig(**settings))
    if started:
        learner.step.fill_(1)
    return learner.train()


def points(*vectors: list[float]) -> Tensor:
    """Latents `[1, D, T]` that are these vectors, one per frame."""
    return torch.tensor(vectors).T[None]


# k-means


@pytest.mark.parametrize("seed", range(8))
def test_kmeans_finds_two_groups_wherever_it_starts(seed: int) -> None:
    torch.manual_seed(seed)
    vectors = torch.tensor([[1.0], [2.0], [3.0], [10.0], [12.0]])
    centres, counts = kmeans(vectors, 2, iterations=10)
    assert sorted(zip(centres.flatten().tolist(), counts.tolist(), strict=True)) == [(2.0, 3.0), (11.0, 2.0)]


def test_kmeans_finds_well_separated_centres() -> None:
    torch.manual_seed(2)
    known = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]])
    vectors = (known[:, None] + torch.randn(4, 50, 2)).flatten(0, 1)
    centres, counts = kmeans(vectors, 4, iterations=20)
    distances = torch.cdist(known, centres)
    assert sorted(distances.argmin(dim=1).tolist()) == [0, 1, 2, 3], "a start in three groups only; take another seed"
    assert distances.min(dim=1).values.max() < 0.6  # the mean of 50 is within 0.14 a dimension
    assert counts.tolist() == [50.0] * 4


def test_kmeans_with_fewer_vectors_than_centres() -> None:
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    centres, counts = kmeans(vectors, 8, iterations=5)
    assert {tuple(centre) for centre in centres.tolist()} == {(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)}
    assert sorted(counts.tolist()) == [0.0] * 5 + [1.0] * 3


# The start


def test_latents_pass_untouched_and_are_collected_until_the_start() -> None:
    learner = make_learner([[[0.0]] * 2] * 2, started=False, start_step=3, kmeans_vectors=7, decay=0.5)
    batches = [torch.arange(4.0).reshape(2, 1, 2) + 10 * n + 1 for n in range(4)]  # 1 2 3 4, 11 12 ..., 31 ... 34
    for batch in batches[:3]:
        batch.requires_grad_()
        found = learner(batch)
        assert found.latents is batch
        assert found.codes is None and found.replaced == 0 and found.commitment == 0
        assert found.log_variance.item() == pytest.approx(math.log(5 / 3))  # 1 2 3 4
    assert learner.recent.flatten().tolist() == [12, 13, 14, 21, 22, 23, 24]
    found = learner(batches[3])
    assert found.codes is not None and found.codes.shape == (2, 2, 2)
    assert learner.recent.flatten().tolist() == [22, 23, 24, 31, 32, 33, 34]
    assert int(learner.step) == 4
    assert {"step", "recent"} <= learner.state_dict().keys(), "a run that is resumed goes on collecting"


def test_codebooks_start_with_kmeans_of_what_was_collected() -> None:
    # The rows of `recent` that were never filled are no latents: a centre must not go to zero for them.
    learner = make_learner([[[0.0]] * 2] * 2, started=False, start_step=1, kmeans_vectors=64, decay=0.999999)
    latents = points([4.0], [6.0], [-4.0], [-6.0], [-5.0])
    learner(latents)
    found = learner(latents)
    first, second = learner.codebooks
    assert sorted(first.embed.flatten().tolist()) == pytest.approx([-5.0, 5.0], abs=1e-4)
    # What the first layer leaves over is -1, 1, 1, -1, 0 (the order of its codes aside).
    assert second.embed.min() < 0 < second.embed.max()
    # As in a batch of five: three are left, two are right.
    assert sorted(first.cluster_size.tolist()) == pytest.approx([2.0, 3.0], abs=1e-4)
    torch.testing.assert_close(first.embed_avg, first.embed * first.cluster_size[:, None])
    assert found.codes is not None
    assert found.codes[0, 0, :2].unique().numel() == found.codes[0, 0, 2:].unique().numel() == 1


# Learning


def test_moving_averages_by_hand() -> None:
    learner = make_learner([[[0.0, 0.0], [10.0, 0.0]]], decay=0.5)
    book = learner.codebooks[0]
    book.cluster_size.copy_(torch.tensor([2.0, 4.0]))
    book.embed_avg.copy_(torch.tensor([[0.0, 0.0], [40.0, 0.0]]))
    found = learner(points([1.0, 0.0], [0.0, 2.0], [12.0, 2.0]))
    assert found.codes is not None and found.codes.tolist() == [[[0, 0, 1]]]
    assert found.latents.tolist() == [[[0.0, 0.0, 10.0], [0.0, 0.0, 0.0]]], "coded with the codes before the update"
    assert found.replaced == 0
    # Two vectors of sum (1, 2), and (12, 2): half old, half new.
    assert book.cluster_size.tolist() == [2.0, 2.5]
    assert book.embed_avg.tolist() == [[0.5, 1.0], [26.0, 1.0]]
    torch.testing.assert_close(book.embed, torch.tensor([[0.25, 0.5], [10.4, 0.4]]))


def test_exactly_the_dead_code_jumps_to_a_vector_of_the_batch() -> None:
    learner = make_learner([[[0.0], [10.0], [1000.0], [20.0]]], decay=0.5, dead_share=0.25)
    book = learner.codebooks[0]
    # Four vectors, so an even use is one; after the update the sizes are 1, 1, 0.2 and 0.5: only 0.2 is below 0.25.
    book.cluster_size.copy_(torch.tensor([0.0, 1.0, 0.4, 0.0]))
    book.embed_avg.copy_(book.embed * book.cluster_size[:, None])
    vectors = [1.0, 3.0, 12.0, 21.0]
    found = learner(points(*[[value] for value in vectors]))
    assert found.replaced == 1
    assert book.embed[2, 0].item() in vectors
    assert book.cluster_size.tolist() == pytest.approx([1.0, 1.0, 1.0, 0.5])
    # Half of (1 + 3) over 1; half of (10 + 12) over 1; half of 21 over a half.
    assert book.embed[[0, 1, 3], 0].tolist() == pytest.approx([2.0, 11.0, 21.0])
    torch.testing.assert_close(book.embed_avg, book.embed * book.cluster_size[:, None])


def test_a_dead_code_is_used_soon_after() -> None:
    torch.manual_seed(0)
    learner = make_learner([[[0.0], [1e6], [-1e6], [1e6]]], decay=0.9)
    learner.codebooks[0].cluster_size.copy_(torch.tensor([16.0, 0.0, 0.0, 0.0]))
    learner.codebooks[0].embed_avg.zero_()
    latents = torch.randn(1, 1, 16)
    replaced = [learner(latents).replaced for _ in range(12)]
    assert replaced[0] == 3
    assert sum(replaced[4:]) == 0
    found = learner.eval()(latents)
    assert found.perplexity[0] > 2.5


def test_evaluation_changes_no_buffer() -> None:
    for started in (False, True):
        learner = make_learner([[[0.0], [10.0]], [[-1.0], [1.0]]], started=started, start_step=0, dropout=1.0).eval()
        before = {name: value.clone() for name, value in learner.state_dict().items()}
        found = learner(torch.randn(3, 1, 50, generator=torch.Generator().manual_seed(0)))
        assert (found.codes is not None) == started
        assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


# Quantiser dropout

LAYERS = [[[0.0], [10.0]], [[-2.0], [2.0]], [[-0.5], [0.5]]]


def test_dropout_uses_the_first_layers_of_each_item(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner(LAYERS)
    monkeypatch.setattr(quantizer, "layers_used", lambda *_: torch.tensor([1, 2, 3]))
    found = learner(torch.full((3, 1, 1), 11.6))
    # 11.6 = 10 + 2 - 0.4: the codes are those of all layers, the sum is of the first one, two, three.
    assert found.codes is not None and found.codes.tolist() == [[[1], [1], [0]]] * 3
    assert found.latents.flatten().tolist() == pytest.approx([10.0, 12.0, 11.5])


def test_how_many_layers_dropout_leaves() -> None:
    torch.manual_seed(0)
    device = torch.device("cpu")
    always = layers_used(3000, 3, 1.0, device)
    shares = torch.bincount(always, minlength=4) / 3000
    assert shares.tolist() == pytest.approx([0.0, 1 / 3, 1 / 3, 1 / 3], abs=0.03)
    half = layers_used(3000, 3, 0.5, device)
    assert float((half == 3).float().mean()) == pytest.approx(0.5 + 0.5 / 3, abs=0.03)
    assert layers_used(100, 3, 0.0, device).unique().tolist() == [3]


@pytest.mark.parametrize("how", ["eval", "learn=False"])
def test_no_layers_are_dropped_without_learning(how: str) -> None:
    learner = make_learner(LAYERS, dropout=1.0)
    latents = torch.full((20, 1, 1), 11.6)
    found = learner.eval()(latents) if how == "eval" else learner(latents, learn=False)
    assert found.latents.flatten().tolist() == pytest.approx([11.5] * 20)


# Gradients


def test_the_gradient_passes_straight_through() -> None:
    learner = make_learner(LAYERS, dropout=1.0)
    latents = (5 * torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(1))).requires_grad_()
    weights = torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(2))
    found = learner(latents)
    assert not torch.allclose(found.latents, latents)
    (found.latents * weights).sum().backward()
    assert latents.grad is not None and torch.equal(latents.grad, weights)


def test_commitment_reaches_the_encoder_from_every_layer() -> None:
    # 2 and 9 are coded as 0 and 10; 2 and -1 are left, coded as 1 and -1; 1 and 0 are left. Their variance is 24.5.
    learner = make_learner([[[0.0], [10.0]], [[-1.0], [1.0]]])
    latents = points([2.0], [9.0]).requires_grad_()
    found = learner(latents)
    expected = ((4 + 1) / 2 + (1 + 0) / 2) / 2 / 24.5
    assert found.commitment.item() == pytest.approx(expected)
    assert found.log_variance.item() == pytest.approx(math.log(24.5))
    found.commitment.backward()
    # d/dx of (x - code)^2 / (2 frames * 2 layers * 24.5), summed over layers: the second one adds 2 * 1 to 2 * 2.
    assert latents.grad is not None
    assert latents.grad.flatten().tolist() == pytest.approx([(4 + 2) / 98, (-2 + 0) / 98])


def test_commitment_does_not_reward_latents_that_shrink() -> None:
    books = [[[0.0], [10.0]], [[-1.0], [1.0]]]
    small = [[[value / 1000 for value in code] for code in book] for book in books]
    latents = points([2.0], [9.0], [11.5])
    wide, narrow = make_learner(books)(latents), make_learner(small)(latents / 1000)
    assert narrow.commitment.item() == pytest.approx(wide.commitment.item(), rel=1e-4)


def test_layers_that_an_item_does_not_use_do_not_commit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner([[[0.0], [10.0]], [[-1.0], [1.0]]])
    monkeypatch.setattr(quantizer, "layers_used", lambda *_: torch.tensor([1]))
    latents = points([2.0], [9.0]).requires_grad_()
    learner(latents).commitment.backward()
    assert latents.grad is not None
    assert latents.grad.flatten().tolist() == pytest.approx([4 / 98, -2 / 98])


# Perplexity


@pytest.mark.parametrize(
    "counts, expected",
    [([5, 5, 5, 5], 4.0), ([0, 7, 0, 0], 1.0), ([2, 1, 1, 0], 2**1.5), ([1, 1, 0, 0], 2.0), ([1] * 1024, 1024.0)],
)
def test_perplexity_of_known_histograms(counts: list[int], expected: float) -> None:
    assert perplexity(torch.tensor(counts).float()).item() == pytest.approx(expected, rel=1e-4)


def test_perplexity_is_reported_per_layer() -> None:
    learner = make_learner([[[0.0], [10.0]], [[-1.0], [1.0]]])
    found = learner(points([1.0], [9.0], [1.2], [11.0]))  # half and half; then three times 1, once -1
    assert found.perplexity.tolist() == pytest.approx([2.0, math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4))])


# Several processes

TABLE = [[[-3.0], [-1.0], [1.0], [3.0]], [[-0.5], [0.5], [0.1], [-0.1]]]


def batch_of(step: int, rank: int) -> Tensor:
    return 2 * torch.randn(3, 1, 20, generator=torch.Generator().manual_seed(10 * step + rank))


def learn_in_a_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.manual_seed(rank)  # as in the training loop, each process draws its own numbers
    taught = make_learner(TABLE, decay=0.8, dead_share=1e-6)
    for step in range(5):
        taught(batch_of(step, rank))
    started = make_learner([[[0.0]] * 4] * 2, started=False, start_step=2, decay=0.8, dead_share=0.5)
    replaced = sum(started(batch_of(step, rank)).replaced for step in range(6))
    lasting = make_learner([[[0.0]] * 4] * 2, started=False, start_step=0, decay=0.999999, dead_share=1e-6)
    lasting(batch_of(0, rank))
    learnt = {"taught": taught, "started": started, "lasting": lasting}
    states = {name: learner.quantizer.state_dict() for name, learner in learnt.items()}
    torch.save({**states, "replaced": replaced}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_learn_the_same_codebooks_from_the_data_of_both(tmp_path: Path) -> None:
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
    for kind in ("taught", "started", "lasting"):
        assert all(torch.equal(value, second[kind][name]) for name, value in first[kind].items())
    assert first["replaced"] == second["replaced"] > 0, "choose data in which codes die"

    alone = make_learner(TABLE, decay=0.8, dead_share=1e-6)
    for step in range(5):
        alone(torch.cat([batch_of(step, 0), batch_of(step, 1)]))
    for name, value in alone.quantizer.state_dict().items():
        torch.testing.assert_close(first["taught"][name], value)

    # k-means starts with the sizes of a batch of both: two times sixty vectors.
    assert float(first["lasting"]["layers.0.codebook.cluster_size"].sum()) == pytest.approx(120, abs=0.01)
