"""Latents on another scale: the same codec."""

import pytest
import torch

from codec_ft.codec_training.encodec_model import EncodecShape, make_encodec
from codec_ft.codec_training.rescale import rescale_latents
from codec_ft.codecs.base import fold_weight_norm


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("factor", [0.125, 8.0])  # powers of two, which round nothing
@torch.no_grad()
def test_codes_and_audio_stay_and_latents_are_scaled(factor: float, folded: bool) -> None:
    torch.manual_seed(0)
    model = make_encodec(
        EncodecShape(sample_rate=800, strides=(2, 4), n_filters=4, latent_dim=5, n_codebooks=2, codebook_size=16)
    ).eval()
    if folded:
        fold_weight_norm(model)
    for k, layer in enumerate(model.quantizer.layers):
        layer.codebook.embed.normal_(std=0.5**k)
        layer.codebook.embed_avg.copy_(2 * layer.codebook.embed)
        layer.codebook.cluster_size.fill_(2)
        model.encoder.layers[-1].conv.bias.normal_()
        model.decoder.layers[0].conv.bias.normal_()

    def look() -> list[torch.Tensor]:
        latents = model.encoder(audio)
        codes = model.quantizer.encode(latents)
        quantized = model.quantizer.decode(codes)
        return [latents, quantized, codes, model.decoder(latents), model.decoder(quantized)]

    audio = torch.randn(2, 1, 200)
    latents, quantized, *same = look()
    average = model.quantizer.layers[0].codebook.embed_avg.clone()
    rescale_latents(model, factor)
    scaled_latents, scaled_quantized, *still = look()
    torch.testing.assert_close(scaled_latents, factor * latents)
    torch.testing.assert_close(scaled_quantized, factor * quantized)
    for before, after in zip(same, still, strict=True):
        torch.testing.assert_close(after, before)
    assert torch.equal(model.quantizer.layers[0].codebook.embed_avg, factor * average)
    assert set(model.quantizer.layers[0].codebook.cluster_size.tolist()) == {2.0}
