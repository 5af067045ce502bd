"""The codec of VampNet: its sizes, its decoder part by part, and what it refuses."""

import pytest
import torch
from torch import Tensor, nn

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.lac import LacConfig, LacDecoderBlock, LacModel, LacResidualLayer, ReceptiveFieldFusion


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def silence_convolutions(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


def test_the_size_by_default() -> None:
    with torch.device("meta"):  # sizes without memory
        model = LacModel(LacConfig())
        codec = DacCodec(model, "lac")
    # 44100 / 768 = 57.4 frames per second; 14 codebooks of 10 bits.
    assert (codec.hop_length, codec.latent_dim, codec.n_codebooks, codec.n_frames(44100)) == (768, 1024, 14, 58)
    assert model.decoder(torch.zeros(2, 1024, 3, device="meta")).shape == (2, 1, 3 * 768)
    widths = [block.conv_t1.weight.shape[:2] for block in model.decoder.block]
    assert widths == [(1536, 768), (768, 384), (384, 192), (192, 96), (96, 48), (48, 24)]
    assert [block.conv_t1.stride[0] for block in model.decoder.block] == [6, 4, 4, 2, 2, 2]
    # Three stacks per block, of kernel k and dilations 1, 3, 5 each: 3 layers x 2 convolutions of k channels^2.
    fusion = model.decoder.block[5].fusion
    assert sum(layer.weight.numel() for layer in fusion.modules() if isinstance(layer, nn.Conv1d)) == (
        3 * 2 * (3 + 7 + 11) * 24**2
    )


def test_fusion_is_the_mean_of_its_stacks() -> None:
    fusion = ReceptiveFieldFusion(2)
    silence_convolutions(fusion)
    wave = noise(1, 2, 50)
    torch.testing.assert_close(fusion(wave), wave)  # three times the skip connections alone
    with torch.no_grad():
        fusion.stacks[1][2].conv2.bias.fill_(3.0)
    torch.testing.assert_close(fusion(wave), wave + 1)


@pytest.mark.parametrize("stack, dilation", [(0, 1), (1, 3), (2, 5)])
def test_how_far_a_residual_layer_sees(stack: int, dilation: int) -> None:
    kernel_size = (3, 7, 11)[stack]
    layer = ReceptiveFieldFusion(1).stacks[stack][(1, 3, 5).index(dilation)]
    assert isinstance(layer, LacResidualLayer)
    wave = torch.zeros(1, 1, 201).requires_grad_()
    layer(wave)[0, 0, 100].backward()
    assert wave.grad is not None
    seen = wave.grad[0, 0].nonzero()[:, 0]
    reach = (kernel_size - 1) // 2 * (dilation + 1)
    assert (int(seen.min()), int(seen.max())) == (100 - reach, 100 + reach)


def test_a_residual_layer_adds_to_its_input() -> None:
    layer = LacResidualLayer(1, kernel_size=3, dilation=2)
    silence_convolutions(layer)
    with (
        torch.no_grad()
    ):  # the first convolution passes the sample two before, the second one the sample itself, doubled
        layer.conv1.weight[0, 0, 0] = 1.0
        layer.conv2.weight[0, 0, 1] = 2.0
    wave = noise(1, 1, 9)
    before = torch.cat([torch.zeros(1, 1, 2), wave[..., :-2]], dim=-1)

    def snake(x: Tensor) -> Tensor:
        return x + torch.sin(x).pow(2)

    torch.testing.assert_close(layer(wave), wave + 2 * snake(snake(before)))


def test_a_block_upsamples_in_place() -> None:
    block = LacDecoderBlock(1, 1, stride=4)
    silence_convolutions(block)
    with torch.no_grad():
        nn.init.ones_(block.conv_t1.weight)
        nn.init.zeros_(block.conv_t1.bias)
    frames = torch.zeros(1, 1, 5)
    frames[..., 2] = 1.0
    # A kernel of two strides around the frame's own 8..11.
    assert block(frames)[0, 0].nonzero()[:, 0].tolist() == list(range(6, 14))


def test_ratios_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"even ratios, got \[2, 3, 6\]"):
        LacConfig(downsampling_ratios=(2, 3), upsampling_ratios=(6,))
    with pytest.raises(ValueError, match="frame of 8 samples, the decoder 16 samples"):
        LacConfig(downsampling_ratios=(2, 4), upsampling_ratios=(4, 4))
