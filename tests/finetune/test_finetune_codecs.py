"""Fine-tuning on codecs of other kinds than the tiny EnCodec."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import EncodecConfig, EncodecModel

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.data.dataset import Batch
from codec_ft.errors import UserError
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.step import FinetuneStep
from codec_ft.finetune.task import FinetuneTask


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def batch() -> Batch:
    return Batch(0.3 * noise(2, 1, 407), 0.3 * noise(2, 1, 407, seed=1), ["a", "b"])


@pytest.mark.parametrize("target", ["latents", "quantized"])
def test_dac_is_compared_with_the_residuals_of_the_target(dac: DacCodec, batch: Batch, target: str) -> None:
    step = FinetuneStep(dac, FinetuneConfig.model_validate({"id": "dac", "target": target}))
    with torch.no_grad():
        clean, heard = dac.encode(batch.target), dac.encode(batch.input)
        codes, quantized = dac.quantize(clean)
        clean = quantized if target == "quantized" else clean
        # Residuals of both with the target's codes, layer by layer.
        errors = []
        for k, layer in enumerate(dac.layers):
            before = 0 if k == 0 else dac.codes_to_latents(codes[:, :k])
            errors.append((layer.in_proj(heard - before) - layer.in_proj(clean - before)).pow(2).mean())
    losses = step(batch)
    assert float(losses["loss"].detach()) == pytest.approx(float(torch.stack(errors).mean()), rel=1e-4)
    losses["loss"].backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in step.parameters())
    assert all(value.grad is None for value in dac.parameters())


def test_validation_measures_what_is_trained(dac: DacCodec, batch: Batch, tiny_set: Path) -> None:
    config = FinetuneConfig.model_validate({"id": "dac", "codec": "dac", "data": {"root": tiny_set}})
    task = FinetuneTask(config, dac)
    metrics = task.validate(task.step.eval(), batch)
    assert float(metrics["latent_mse"].mean()) == pytest.approx(float(task.step(batch)["loss"].detach()), rel=1e-4)
    torch.testing.assert_close(metrics["latent_mse"], metrics["latent_mse_untouched"], rtol=1e-4, atol=0)


def test_dac_learns(dac: DacCodec, batch: Batch) -> None:
    step = FinetuneStep(dac, FinetuneConfig(id="dac"))
    optimizer = torch.optim.Adam(step.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = step(batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_a_stereo_codec_is_refused(tiny_set: Path) -> None:
    config = EncodecConfig(
        audio_channels=2,
        normalize=True,
        chunk_length_s=1.0,
        overlap=0.01,
        norm_type="time_group_norm",
        use_causal_conv=False,
        upsampling_ratios=(2,),
        num_filters=2,
        hidden_size=2,
        codebook_size=2,
        target_bandwidths=[24.0],
    )
    codec = SegmentedEncodecCodec(EncodecModel(config), "encodec_48khz")
    finetuning = FinetuneConfig.model_validate({"id": "stereo", "codec": "encodec_48khz", "data": {"root": tiny_set}})
    with pytest.raises(UserError, match="codec=encodec_48khz: has 2 audio channels, but fine-tuning works in mono"):
        FinetuneTask(finetuning, codec)
