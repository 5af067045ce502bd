"""Discriminators: published sizes, shapes by hand, what they see and do not see, and that they learn."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from codec_ft.codec_training.discriminators.bands import BandDiscriminator
from codec_ft.codec_training.discriminators.periods import PeriodDiscriminator, normalize_level
from codec_ft.codec_training.discriminators.stft import StftDiscriminator, complex_spectrogram

SMALL: dict[str, Callable[[], nn.Module]] = {
    "stft": lambda: StftDiscriminator((256, 128), filters=4),
    "periods": lambda: PeriodDiscriminator((2, 3), channels=(4, 8, 8)),
    "bands": lambda: BandDiscriminator((256, 128), filters=4),
}


@pytest.fixture(params=SMALL)
def discriminator(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return SMALL[request.param]()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_the_published_ones() -> None:
    # Each of HiFi-GAN's period discriminators has 8 221 154 parameters with weight norm.
    assert parameters(PeriodDiscriminator()) == 5 * 8_221_154
    # By hand: weights, biases and norms of 2 -> 32, three times 32 -> 32 (3 x 9), and 32 -> 32 (3 x 3) ...
    stack = (32 * 2 * 27 + 64) + 3 * (32 * 32 * 27 + 64) + (32 * 32 * 9 + 64)
    last = 32 * 9 + 1 + 1  # ... and 32 -> 1
    # As many as the magnitude discriminator of 93 634, but for a second input channel.
    assert stack + last == 93_634 + 32 * 27
    assert parameters(StftDiscriminator()) == 5 * (stack + last)
    assert parameters(BandDiscriminator()) == 3 * (5 * stack + last)


def test_stft_shapes() -> None:
    maps = StftDiscriminator((256, 64), filters=4)(noise(2, 1, 1000))
    # 1 + (1000 - 256) // 64 frames and 1 + (1000 - 64) // 16; three times half the frequencies, rounded up.
    for scale, frames, sizes in zip(maps, (12, 59), ([129, 65, 33, 17, 17], [33, 17, 9, 5, 5]), strict=True):
        assert [list(each.shape) for each in scale[:-1]] == [[2, 4, frames, size] for size in sizes]
        assert list(scale[-1].shape) == [2, 1, frames, sizes[-1]]


def test_period_shapes() -> None:
    maps = PeriodDiscriminator((2, 7), channels=(4, 6, 8, 10, 12))(noise(3, 1, 1000))
    # 500 and 143 (after padding to 1001) rows; every layer but the last keeps a third, rounded up.
    for scale, period, sizes in zip(maps, (2, 7), ([167, 56, 19, 7, 7], [48, 16, 6, 2, 2]), strict=True):
        shapes = [[3, channels, size, period] for channels, size in zip((4, 6, 8, 10, 12), sizes, strict=True)]
        assert [list(each.shape) for each in scale] == [*shapes, [3, 1, sizes[-1], period]]


def test_band_shapes() -> None:
    maps = BandDiscriminator((512,), filters=4)(noise(2, 1, 1000))[0]
    # 1000 / 128 hops, rounded up; 257 bins split at 25, 64, 128 and 192.
    widths = [25, 39, 64, 64, 65]
    assert [list(each.shape) for each in maps[:-1:5]] == [[2, 4, 8, width] for width in widths]
    assert [list(each.shape) for each in maps[4:-1:5]] == [[2, 4, 8, math.ceil(width / 8)] for width in widths]
    assert list(maps[-1].shape) == [2, 1, 8, 4 + 5 + 8 + 8 + 9] and len(maps) == 26


@pytest.mark.parametrize("length", [256, 257, 999, 1000, 1001])
def test_any_length_from_the_longest_window_on(discriminator: nn.Module, length: int) -> None:
    maps = discriminator(noise(2, 1, length))
    assert len(maps) == 2
    assert all(each.shape[0] == 2 and each.isfinite().all() for scale in maps for each in scale)


def test_reflection_happens_only_where_a_period_is_not_full() -> None:
    seen = []
    discriminator = PeriodDiscriminator((3,), channels=(1,))
    discriminator.periods[0].layers[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    ramp = torch.arange(-4.0, 4.0)[None, None]  # with a peak of 4, but for the mean of -0.5
    discriminator(ramp[..., :6])
    discriminator(ramp[..., :7])
    # 0.8 / 2.5 and 0.8 / 3 per step of the ramp, which has become free of its mean.
    torch.testing.assert_close(seen[0][0, 0], 0.32 * torch.tensor([[-2.5, -1.5, -0.5], [0.5, 1.5, 2.5]]))
    rows = [[-3.0, -2.0, -1.0], [0.0, 1.0, 2.0], [3.0, 2.0, 1.0]]  # 3 is the last sample; 2 and 1 are reflected
    torch.testing.assert_close(seen[1][0, 0], 0.8 / 3 * torch.tensor(rows))


@pytest.mark.parametrize(
    "make, shortest, why",
    [
        (lambda: StftDiscriminator((512, 128), filters=2), 512, "the longest window"),
        (lambda: PeriodDiscriminator((5, 11), channels=(2,)), 11, "its longest period"),
        (lambda: BandDiscriminator((512, 128), filters=2), 512, "the longest window"),
    ],
)
def test_bad_audio_is_refused(make: Callable[[], nn.Module], shortest: int, why: str) -> None:
    discriminator = make()
    discriminator(noise(1, 1, shortest))
    with pytest.raises(ValueError, match=rf"audio of {shortest - 1} samples is too short .* needs {shortest}, {why}"):
        discriminator(noise(1, 1, shortest - 1))
    for shape in ((2, 2, 2000), (2, 2000)):
        with pytest.raises(ValueError, match=r"mono audio \[B, 1, N\], not \[2, .*2000\]"):
            discriminator(noise(*shape))


def test_a_band_without_a_bin_is_refused() -> None:
    with pytest.raises(ValueError, match=r"band \(0.0, 0.1\) of a spectrogram of 9 bins \(n_fft=16\) is empty"):
        BandDiscriminator((16,))


def test_the_spectrogram_of_a_sine() -> None:
    # A cosine on bin 8: half the sum of the window, turned back by a quarter of the window's 8 periods, so real.
    window = torch.hann_window(64)
    audio = torch.cos(2 * math.pi * 8 * torch.arange(256) / 64)[None, None]
    spectrum = complex_spectrogram(audio, window)
    assert spectrum.shape == (1, 2, 13, 33)
    torch.testing.assert_close(spectrum[0, 0, :, 8], torch.full((13,), 16.0))
    assert spectrum[0, 1].abs().max() < 1e-4
    assert spectrum[0, 0, :, 11:].abs().max() < 1e-4


def test_noise_looks_alike_at_all_of_encodecs_resolutions() -> None:
    discriminator = StftDiscriminator(filters=1)
    audio = noise(4, 1, 16000)
    for scale in discriminator.scales:
        power = complex_spectrogram(audio, scale.window).square().sum(1)[..., 1:-1].mean()
        assert power.item() == pytest.approx(0.01, rel=0.03)  # the variance of the noise


def test_spectra_are_in_single_precision_under_autocast() -> None:
    window = torch.hann_window(128)
    with torch.autocast("cpu", torch.bfloat16):
        assert complex_spectrogram(noise(1, 1, 512).bfloat16(), window).dtype == torch.float32


def test_level_by_hand() -> None:
    audio = torch.tensor([[[0.0, 1.0, 2.0, 1.0]], [[0.1, -0.3, 0.1, 0.1]], [[1e-5, -1e-5, 1e-5, -1e-5]]])
    expected = torch.tensor([[[-0.8, 0.0, 0.8, 0.0]], [[0.8 / 3, -0.8, 0.8 / 3, 0.8 / 3]]])
    torch.testing.assert_close(normalize_level(audio)[:2], expected)
    torch.testing.assert_close(normalize_level(audio)[2], 800 * audio[2])  # not by 80 000


@pytest.mark.parametrize("name", ["periods", "bands"])
def test_dacs_discriminators_do_not_hear_level_or_offset(name: str) -> None:
    torch.manual_seed(0)
    discriminator = SMALL[name]()
    audio = noise(2, 1, 600)
    torch.testing.assert_close(discriminator(audio), discriminator(0.03 * audio + 0.2), rtol=1e-3, atol=1e-4)


def test_gradients_reach_the_audio(discriminator: nn.Module) -> None:
    audio = noise(2, 1, 600).requires_grad_()
    sum(maps[-1].square().mean() for maps in discriminator(audio)).backward()
    assert audio.grad is not None and audio.grad.isfinite().all()
    assert (audio.grad != 0).float().mean() > 0.9
    assert all(p.grad is not None and p.grad.isfinite().all() for p in discriminator.parameters())


@pytest.mark.parametrize("level", [0.0, 1e-8, 1e-4])
def test_silence_gives_no_exploding_gradient(discriminator: nn.Module, level: float) -> None:
    audio = torch.cat([noise(1, 1, 600), level * noise(1, 1, 600, seed=1)]).requires_grad_()
    sum(maps[-1].mean() for maps in discriminator(audio)).backward()
    assert audio.grad is not None and audio.grad.isfinite().all()
    loud, quiet = audio.grad.flatten(1).norm(dim=1)
    assert quiet < 1000 * loud


def test_windows_move_with_the_module_but_are_not_saved(discriminator: nn.Module) -> None:
    assert not [name for name in discriminator.state_dict() if "window" in name]
    maps = discriminator.double()(noise(1, 1, 600).double())
    assert maps[0][-1].dtype == torch.float64


def test_equal_seeds_and_a_reloaded_state_give_equal_maps(discriminator: nn.Module) -> None:
    other = SMALL[{"S": "stft", "P": "periods", "B": "bands"}[type(discriminator).__name__[0]]]()
    audio = noise(1, 1, 600)
    assert not torch.equal(other(audio)[0][-1], discriminator(audio)[0][-1])
    other.load_state_dict(discriminator.state_dict())
    torch.testing.assert_close(other(audio), discriminator(audio), rtol=0, atol=0)


def test_a_few_steps_tell_sines_from_noise(discriminator: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)

    def sines_and_noise() -> list[Tensor]:
        pitch, phase = torch.rand(2, 4, 1, 1, generator=generator)
        sines = 0.3 * torch.sin((0.05 + 0.5 * pitch) * torch.arange(384) + 6.3 * phase)
        return [sines, 0.2 * torch.randn(4, 1, 384, generator=generator)]

    optimizer = torch.optim.Adam(discriminator.parameters(), lr=0.02)
    for _ in range(100):
        real, fake = (discriminator(audio) for audio in sines_and_noise())
        loss = sum((1 - r[-1]).square().mean() + f[-1].square().mean() for r, f in zip(real, fake, strict=True))
        if loss < 0.4:  # 1 would be chance: all logits of both sub-discriminators at a half
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    else:
        pytest.fail(f"a loss of {loss} after 100 steps")
    real, fake = (discriminator(audio) for audio in sines_and_noise())  # of other pitches
    for r, f in zip(real, fake, strict=True):
        scores = [maps[-1].detach().mean(dim=(1, 2, 3)) for maps in (r, f)]
        assert scores[0].min() > scores[1].max()
