"""The residual loss: by hand, against loops that follow the equations, in its limits, and what it needs of memory."""

import math
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from given_codebooks import KINDS, cosine, euclidean
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.finetune.losses.residual import ResidualLoss, layer_temperatures, residual_loss
from codec_ft.finetune.losses.soft_labels import code_spacing, layer_labels

FORMS = ("soft", "teacher")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_codec(kind: str, n_codebooks: int = 3, size: int = 8, dim: int = 4) -> ResidualCodec:
    """Random codebooks, ever finer."""
    return KINDS[kind](*(0.6**k * noise(size, dim, seed=10 + k) for k in range(n_codebooks)))


def random_codes(codec: ResidualCodec, items: int, frames: int, seed: int = 1) -> Tensor:
    shape = (items, codec.n_codebooks, frames)
    return torch.randint(codec.codebook_size, shape, generator=torch.Generator().manual_seed(seed))


def slow_loss(
    codec: ResidualCodec, latents: Tensor, codes: Tensor, taus: Sequence[float], form: str, label_tau: float = 0.0
) -> tuple[list[list[float]], list[list[float]]]:
    """Cross-entropies and accuracies `[B][K]`, one frame, layer and code after the other."""
    entropies, accuracies = [], []
    for latent, target in zip(latents.double(), codes, strict=True):
        entropy, accuracy = [0.0] * len(taus), [0.0] * len(taus)
        n_frames = latent.shape[1]
        for t in range(n_frames):
            residual = latent[:, t]
            for k, tau in enumerate(taus):
                scores, vectors = scores_and_vectors(codec, k, residual)
                exponentials = [math.exp(score / tau) for score in scores]
                probabilities = [value / sum(exponentials) for value in exponentials]
                wanted = int(target[k, t])
                labels = layer_labels(codec, k, target[k, t].view(1, 1), label_tau)[0, :, 0].tolist()
                logs = [math.log(p) for p in probabilities]
                entropy[k] -= sum(label * log for label, log in zip(labels, logs, strict=True)) / n_frames
                accuracy[k] += (max(range(len(scores)), key=lambda code: scores[code]) == wanted) / n_frames
                if form == "soft":
                    for p, vector in zip(probabilities, vectors, strict=True):
                        residual = residual - p * vector
                else:
                    residual = residual - vectors[wanted]
        entropies.append(entropy)
        accuracies.append(accuracy)
    return entropies, accuracies


def scores_and_vectors(codec: ResidualCodec, k: int, residual: Tensor) -> tuple[list[float], list[Tensor]]:
    """Of every code: minus its squared distance to the residual, or its cosine with it; and what it adds to latents."""
    if isinstance(codec, EncodecCodec):
        vectors = list(codec.layers[k].codebook.embed.double())
        return [-float(((vector - residual) ** 2).sum()) for vector in vectors], vectors
    assert isinstance(codec, DacCodec)
    layer = codec.layers[k]
    into, out = (projection.weight.double()[:, :, 0] for projection in (layer.in_proj, layer.out_proj))
    projected = into @ residual + layer.in_proj.bias.double()
    table = list(layer.codebook.weight.double())
    scores = [float(code @ projected / (code.norm() * projected.norm())) for code in table]
    return scores, [out @ code + layer.out_proj.bias.double() for code in table]


def test_euclidean_by_hand() -> None:
    codec = euclidean(torch.tensor([[0.0], [4.0]]), torch.tensor([[-1.0], [1.0]]))
    latents, codes = torch.tensor([[[1.0]]]), torch.tensor([[[0], [1]]])
    # Squared distances 1 and 9: at temperature 2, the first code is e^4 times as likely.
    far = 1 / (1 + math.exp(4))
    first = math.log(1 + math.exp(-4))
    # Left over is 1 - 4 far, or 1 - 0. Of r, the squared distances to -1 and 1 differ by 4 r.
    for form, residual in (("soft", 1 - 4 * far), ("teacher", 1.0)):
        found = residual_loss(codec, latents, codes, tau=2.0, form=form)  # type: ignore[arg-type]
        assert found.cross_entropy.tolist()[0] == pytest.approx(
            [first, math.log(1 + math.exp(-2 * residual))], abs=1e-6
        )
        assert found.accuracy.tolist() == [[1, 1]]
    # The other code of both is taught: 4 is taken away, and -3 is nearer to -1.
    found = residual_loss(codec, latents, 1 - codes, tau=2.0, form="teacher")
    assert found.cross_entropy.tolist()[0] == pytest.approx([4 + first, math.log(1 + math.exp(-6))], abs=1e-6)
    assert found.accuracy.tolist() == [[0, 1]]


@torch.no_grad()
def test_cosine_by_hand() -> None:
    table = torch.tensor([[3.0, 0.0], [0.0, 5.0]])
    codec = cosine(table, table)
    for layer in codec.layers:
        layer.in_proj.weight.copy_(torch.eye(2, codec.latent_dim)[:, :, None])
        layer.out_proj.weight.copy_(torch.eye(codec.latent_dim, 2)[:, :, None])
        layer.in_proj.bias.zero_()
        layer.out_proj.bias.copy_(torch.eye(codec.latent_dim)[0])  # every code adds 1 to the first dimension
    latents = torch.zeros(1, codec.latent_dim, 1)
    latents[0, 0] = 2
    codes = torch.tensor([[[0], [1]]])
    # Cosines 1 and 0: at temperature 1/2, odds of e^2 : 1.
    p = 1 / (1 + math.exp(-2))
    for form, taken in (("soft", (3 * p + 1, 5 * (1 - p))), ("teacher", (4.0, 0.0))):
        left = (2 - taken[0], -taken[1])
        cosines = [left[0] / math.hypot(*left), left[1] / math.hypot(*left)]
        second = math.log(1 + math.exp(2 * (cosines[0] - cosines[1])))
        found = residual_loss(codec, latents, codes, tau=0.5, form=form)  # type: ignore[arg-type]
        assert found.cross_entropy.tolist()[0] == pytest.approx([-math.log(p), second], abs=1e-6)
        assert found.accuracy.tolist() == [[1, float(cosines[1] > cosines[0])]]


@pytest.mark.parametrize("label_tau", [0.0, 0.7])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_loops(kind: str, form: str, label_tau: float) -> None:
    codec = random_codec(kind)
    latents = noise(2, codec.latent_dim, 5)
    codes = random_codes(codec, 2, 5)
    codes[0], _ = codec.quantize(latents[:1])
    taus = [0.5, 0.3, 0.9]
    found = residual_loss(codec, latents, codes, tau=taus, form=form, label_tau=label_tau, chunk_frames=3)  # type: ignore[arg-type]
    entropies, accuracies = slow_loss(codec, latents, codes, taus, form, label_tau)
    torch.testing.assert_close(found.cross_entropy, torch.tensor(entropies), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.accuracy, torch.tensor(accuracies))
    assert 0 < float(found.accuracy.mean()) < 1


def test_equal_to_loops_for_another_encodec(tiny_codec: EncodecCodec) -> None:
    latents = 0.2 * noise(1, 8, 4)
    codes = random_codes(tiny_codec, 1, 4)[:, :2]
    found = residual_loss(tiny_codec, latents, codes, tau=0.1, form="soft")
    entropies, accuracies = slow_loss(tiny_codec, latents, codes, [0.1, 0.1], "soft")
    torch.testing.assert_close(found.cross_entropy, torch.tensor(entropies), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.accuracy, torch.tensor(accuracies))


@pytest.mark.parametrize("label_tau", [0.0, 0.7])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind: str, form: str, label_tau: float) -> None:
    codec = random_codec(kind, n_codebooks=3, size=4, dim=2).double()
    latents = noise(2, codec.latent_dim, 3).double().requires_grad_()
    codes = random_codes(codec, 2, 3)

    def loss(latents: Tensor) -> Tensor:
        found = residual_loss(codec, latents, codes, tau=0.7, form=form, label_tau=label_tau, chunk_frames=4)  # type: ignore[arg-type]
        assert found.cross_entropy.dtype == torch.float64 and not found.accuracy.requires_grad
        return found.cross_entropy

    assert torch.autograd.gradcheck(loss, latents)


@pytest.mark.parametrize("kind", KINDS)
def test_taught_it_is_the_codec_s_own_logits(kind: str) -> None:
    codec = random_codec(kind)
    codes = random_codes(codec, 2, 5)[:, :2]
    latents = noise(2, codec.latent_dim, 5)
    ours, theirs = latents.clone().requires_grad_(), latents.clone().requires_grad_()
    found = residual_loss(codec, ours, codes, tau=0.4, form="teacher", chunk_frames=4)
    logits = codec.logits(theirs, codes, temperature=0.4)
    expected = -logits.gather(2, codes[:, :, None])[:, :, 0].mean(dim=2)
    torch.testing.assert_close(found.cross_entropy, expected)
    torch.testing.assert_close(found.accuracy, (logits.argmax(dim=2) == codes).float().mean(dim=2))
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    (weights * found.cross_entropy).sum().backward()
    (weights * expected).sum().backward()
    assert ours.grad is not None and ours.grad.abs().min() > 0
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_taught_layer_s_gradient_points_from_the_target_s_code_to_the_likely_ones() -> None:
    codec = random_codec("euclidean")
    latents, codes = noise(1, 4, 1).requires_grad_(), random_codes(codec, 1, 1)
    for k in range(3):
        (gradient,) = torch.autograd.grad(
            residual_loss(codec, latents, codes, tau=0.5, form="teacher").cross_entropy[0, k], latents
        )
        probabilities = codec.logits(latents, codes, temperature=0.5)[0, k, :, 0].detach().exp()
        table = codec.table(k)
        expected = 2 / 0.5 * (table[codes[0, k, 0]] - probabilities @ table)
        torch.testing.assert_close(gradient[0, :, 0], -expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_soft_layer_s_gradient_flows_through_those_before_it(kind: str) -> None:
    codec = random_codec(kind, n_codebooks=2)
    latents, codes = noise(1, codec.latent_dim, 4).requires_grad_(), random_codes(codec, 1, 4)
    (gradient,) = torch.autograd.grad(
        residual_loss(codec, latents, codes, tau=0.5, form="soft").cross_entropy[0, 1], latents
    )
    # With the first layer's soft code as a constant, it is another one.
    p = codec.logits(latents, codes[:, :1], temperature=0.5)[:, 0].exp()
    residual = (latents - codec.codebooks()[0].t() @ p).detach().requires_grad_()
    second = KINDS[kind](codec.table(1))
    if isinstance(codec, DacCodec) and isinstance(second, DacCodec):
        second.layers[0].load_state_dict(codec.layers[1].state_dict())
    loss = residual_loss(second, residual, codes[:, 1:], tau=0.5, form="soft").cross_entropy[0, 0]
    (as_a_constant,) = torch.autograd.grad(loss, residual)
    assert (gradient - as_a_constant).abs().max() > 0.1 * as_a_constant.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_cold_it_is_the_codec_s_own_quantiser(kind: str) -> None:
    codec = random_codec(kind)
    latents = noise(2, codec.latent_dim, 6)
    codes, _ = codec.quantize(latents)
    found = residual_loss(codec, latents, codes, tau=1e-4, form="soft")
    torch.testing.assert_close(found.cross_entropy, torch.zeros(2, 3), rtol=0, atol=1e-3)
    assert found.accuracy.tolist() == [[1, 1, 1]] * 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_hot_all_codes_are_as_likely(kind: str, form: str) -> None:
    codec = random_codec(kind)
    found = residual_loss(codec, noise(2, codec.latent_dim, 6), random_codes(codec, 2, 6), tau=1e6, form=form)  # type: ignore[arg-type]
    torch.testing.assert_close(found.cross_entropy, torch.full((2, 3), math.log(8)), rtol=1e-4, atol=0)


def test_nearer_codes_are_likelier() -> None:
    """The sign that equation 6 lacks where it is first written."""
    codec = euclidean(torch.tensor([[0.0], [1.0], [5.0]]).repeat(2, 1)[:4])
    entropies = [
        float(residual_loss(codec, torch.zeros(1, 1, 1), torch.tensor([[[code]]]), tau=1.0, form="soft").cross_entropy)
        for code in (0, 1, 2)
    ]
    assert entropies[0] < entropies[1] < entropies[2]


@settings(max_examples=25, deadline=None)
@given(
    items=st.integers(1, 3),
    frames=st.integers(1, 7),
    chunk_frames=st.integers(1, 25),
    form=st.sampled_from(FORMS),
    kind=st.sampled_from(sorted(KINDS)),
    label_tau=st.sampled_from([0.0, 1.0]),
)
def test_chunks_do_not_matter(
    items: int, frames: int, chunk_frames: int, form: str, kind: str, label_tau: float
) -> None:
    codec = random_codec(kind)
    codes = random_codes(codec, items, frames)
    weights = noise(items, 3, seed=5)

    def run(chunk_frames: int) -> tuple[ResidualLoss, Tensor | None]:
        latents = noise(items, codec.latent_dim, frames).requires_grad_()
        found = residual_loss(
            *(codec, latents, codes),
            tau=0.5,
            form=form,  # type: ignore[arg-type]
            label_tau=label_tau,
            chunk_frames=chunk_frames,
        )
        (weights * found.cross_entropy).sum().backward()
        return found, latents.grad

    (whole, whole_gradient), (parts, gradient) = run(items * frames), run(chunk_frames)
    torch.testing.assert_close(parts.cross_entropy, whole.cross_entropy)
    torch.testing.assert_close(parts.accuracy, whole.accuracy)
    torch.testing.assert_close(gradient, whole_gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_an_item_does_not_see_the_others(form: str) -> None:
    codec = random_codec("euclidean")
    latents, codes = noise(3, 4, 5), random_codes(codec, 3, 5)
    together = residual_loss(codec, latents, codes, tau=0.5, form=form)  # type: ignore[arg-type]
    for b in range(3):
        alone = residual_loss(codec, latents[b, None], codes[b, None], tau=0.5, form=form)  # type: ignore[arg-type]
        torch.testing.assert_close(alone.cross_entropy[0], together.cross_entropy[b])
        torch.testing.assert_close(alone.accuracy[0], together.accuracy[b])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_first_layers_do_not_depend_on_later_ones(kind: str, form: str) -> None:
    codec = random_codec(kind)
    latents, codes = noise(2, codec.latent_dim, 5), random_codes(codec, 2, 5)
    every = residual_loss(codec, latents, codes, tau=0.5, form=form)  # type: ignore[arg-type]
    first = residual_loss(codec, latents, codes[:, :2], tau=0.5, form=form)  # type: ignore[arg-type]
    torch.testing.assert_close(first.cross_entropy, every.cross_entropy[:, :2])
    torch.testing.assert_close(first.accuracy, every.accuracy[:, :2])


@pytest.mark.parametrize("kind", KINDS)
def test_the_codec_stays_frozen(kind: str) -> None:
    codec = random_codec(kind)
    latents = noise(1, codec.latent_dim, 5).requires_grad_()
    residual_loss(codec, latents, random_codes(codec, 1, 5), tau=0.5, form="soft").cross_entropy.sum().backward()
    assert all(value.grad is None and not value.requires_grad for value in codec.parameters())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_and_half_precision_are_left(kind: str, form: str) -> None:
    codec = random_codec(kind)
    codes = random_codes(codec, 2, 5)
    half = noise(2, codec.latent_dim, 5).bfloat16().requires_grad_()
    full = half.detach().float().requires_grad_()
    expected = residual_loss(codec, full, codes, tau=0.3, form=form)  # type: ignore[arg-type]
    expected.cross_entropy.sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        found = residual_loss(codec, half, codes, tau=0.3, form=form)  # type: ignore[arg-type]
        found.cross_entropy.sum().backward()
    assert found.cross_entropy.dtype == torch.float32
    torch.testing.assert_close(found.cross_entropy, expected.cross_entropy)
    assert half.grad is not None and full.grad is not None and half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(half.grad, full.grad.bfloat16())


def test_the_gradient_of_each_layer_can_be_asked_for_again() -> None:
    """As a balancer of gradients does before the backward pass."""
    codec = random_codec("euclidean")
    latents = noise(1, 4, 5).requires_grad_()
    found = residual_loss(codec, latents, random_codes(codec, 1, 5), tau=0.5, form="soft").cross_entropy[0]
    layers = [torch.autograd.grad(layer, latents, retain_graph=True)[0] for layer in found]
    found.sum().backward()
    torch.testing.assert_close(latents.grad, torch.stack(layers).sum(dim=0))


def test_without_gradients_it_is_the_same() -> None:
    codec = random_codec("cosine")
    latents, codes = noise(1, codec.latent_dim, 5), random_codes(codec, 1, 5)
    with torch.no_grad():
        found = residual_loss(codec, latents, codes, tau=0.5, form="soft")
    assert not found.cross_entropy.requires_grad
    expected = residual_loss(codec, latents.requires_grad_(), codes, tau=0.5, form="soft")
    torch.testing.assert_close(found.cross_entropy, expected.cross_entropy)


def test_latents_that_are_not_numbers_make_such_a_loss() -> None:
    """For the training to stop at, which knows the files of the batch."""
    codec = random_codec("euclidean")
    latents = torch.full((1, 4, 5), torch.nan)
    for form in FORMS:
        found = residual_loss(codec, latents, random_codes(codec, 1, 5), tau=0.5, form=form)  # type: ignore[arg-type]
        assert found.cross_entropy.isnan().all()


class LiveTensors(TorchDispatchMode):
    """Bytes of the tensors that live, of those that are made inside; at their most, and of the largest one."""

    def __init__(self, *there_before: Tensor) -> None:
        super().__init__()
        self.now = self.peak = self.largest = 0
        self.known = {id(tensor.untyped_storage()): 0 for tensor in there_before}

    def __torch_dispatch__(
        self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, list | tuple) else [made]:
            if isinstance(tensor, Tensor) and id(storage := tensor.untyped_storage()) not in self.known:
                size = storage.nbytes()
                self.known[id(storage)] = size
                self.now += size
                self.peak, self.largest = max(self.peak, self.now), max(self.largest, size)
                weakref.finalize(storage, self.forget, id(storage))
        return made

    def forget(self, key: int) -> None:
        self.now -= self.known.pop(key)


@pytest.mark.parametrize("label_tau", [0.0, 1.0])
@pytest.mark.parametrize("form", FORMS)
def test_memory_does_not_grow_with_frames_times_codes(form: str, label_tau: float) -> None:
    codec = euclidean(*(noise(256, 4, seed=k) for k in range(3)))
    peaks = {}
    for frames in (64, 384):
        latents, codes = noise(1, 4, frames).requires_grad_(), random_codes(codec, 1, frames)
        code_spacing(codec, 0), code_spacing(codec, 1), code_spacing(codec, 2)  # measured before, once and for all
        with LiveTensors(latents, codes, *codec.buffers()) as live:
            found = residual_loss(codec, latents, codes, tau=0.5, form=form, label_tau=label_tau, chunk_frames=16)  # type: ignore[arg-type]
            kept = live.now
            found.cross_entropy.sum().backward()
        peaks[frames] = live.peak
        assert live.largest <= max(4 * 256 * 16, 4 * 3 * 256 * 4, 8 * 3 * frames)
        assert kept <= (4 * 3 * 256 * 4 if form == "soft" else 0) + 50 * frames
    # A frame may cost what its latents, codes and gradients take, not 4 x 256 bytes.
    assert peaks[384] - peaks[64] <= (384 - 64) * 100


@pytest.mark.parametrize("form", FORMS)
def test_the_graph_keeps_latents_and_codes_alone(form: str) -> None:
    codec = euclidean(*(noise(256, 4, seed=k) for k in range(3)))
    latents, codes = noise(1, 4, 100).requires_grad_(), random_codes(codec, 1, 100)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        found = residual_loss(codec, latents, codes, tau=0.5, form=form)  # type: ignore[arg-type]
    assert sum(kept) <= latents.numel() + codes.numel()
    found.cross_entropy.sum().backward()
    assert latents.grad is not None and latents.grad.abs().max() > 0


def test_temperatures() -> None:
    codec = euclidean(torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [0.5]]))
    assert layer_temperatures(codec, 2.0, "absolute", 2) == [2.0, 2.0]
    assert layer_temperatures(codec, 2.0, "spacing", 2) == pytest.approx([18.0, 0.5])
    assert layer_temperatures(codec, 2.0, "spacing", 1) == pytest.approx([18.0])
    with pytest.raises(ValueError, match="has 2 codebooks, 3 were asked for"):
        layer_temperatures(codec, 2.0, "spacing", 3)


def test_in_units_of_the_spacing_all_scales_are_equal() -> None:
    """Latents and codebooks ten times as large have the same loss."""
    small = random_codec("euclidean")
    large = euclidean(*(10 * small.table(k) for k in range(3)))
    latents, codes = noise(1, 4, 5), random_codes(small, 1, 5)
    found = [
        residual_loss(codec, size * latents, codes, tau=layer_temperatures(codec, 0.5, "spacing", 3), form="soft")
        for codec, size in ((small, 1), (large, 10))
    ]
    torch.testing.assert_close(found[0].cross_entropy, found[1].cross_entropy, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tau", [0, -1.0, math.nan, math.inf, [0.5, 0.0, 0.5]])
def test_impossible_temperatures_are_refused(tau: float | list[float]) -> None:
    codec = random_codec("euclidean")
    with pytest.raises(ValueError, match="temperatures must be above zero and finite, got"):
        residual_loss(codec, noise(1, 4, 5), random_codes(codec, 1, 5), tau=tau, form="soft")
    if isinstance(tau, float):
        with pytest.raises(ValueError, match="temperatures must be above zero and finite, got"):
            layer_temperatures(codec, tau, "spacing", 2)


def test_what_does_not_fit_is_refused() -> None:
    codec = random_codec("euclidean")
    codes = random_codes(codec, 2, 5)
    for shape in ((1, 4, 5), (2, 4, 6), (2, 3, 5), (4, 5)):
        with pytest.raises(ValueError, match=r"latents \[.*\] and target codes \[2, 3, 5\] do not fit together"):
            residual_loss(codec, noise(*shape), codes, tau=0.5, form="soft")
    with pytest.raises(ValueError, match=r"expected codes \[B, K, T\] with 1 <= K <= 3"):
        residual_loss(codec, noise(2, 4, 5), codes.repeat(1, 2, 1), tau=0.5, form="soft")
    with pytest.raises(ValueError, match=r"codes must lie in 0\.\.7"):
        residual_loss(codec, noise(2, 4, 5), codes + 1, tau=0.5, form="soft")
    with pytest.raises(ValueError, match="one temperature for all layers or 3, got 2"):
        residual_loss(codec, noise(2, 4, 5), codes, tau=[0.5, 0.5], form="soft")
    with pytest.raises(ValueError, match="chunk_frames must be at least 1, got 0"):
        residual_loss(codec, noise(2, 4, 5), codes, tau=0.5, form="soft", chunk_frames=0)
    with pytest.raises(ValueError, match="temperature of soft labels must be zero or above"):
        residual_loss(codec, noise(2, 4, 5), codes, tau=0.5, form="soft", label_tau=-1.0)
