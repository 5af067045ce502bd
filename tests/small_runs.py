"""Overrides with which the shipped configurations train in a moment."""

TINY = [
    "data.seconds=0.25",
    "data.valid_seconds=0.25",
    "data.valid_per_track=1",
    "data.report_seconds=0.5",
    "train.steps=2",
    "train.batch_size=2",
    "train.validate_every=2",
    "train.log_every=1",
    "train.tensorboard=false",
    "data.workers=0",
]
TINY_MODEL = ["model.sample_rate=8000", "model.strides=[4,5]", "model.n_codebooks=3", "model.codebook_size=16"]
TINY_CODEC = {
    "encodec": [*TINY_MODEL, "model.n_filters=4", "model.latent_dim=8"],
    "dac": [
        *TINY_MODEL,
        "model.encoder_channels=4",
        "model.decoder_channels=16",
        "model.latent_dim=null",
        "model.decoder_strides=null",
    ],
}
TINY_SEPARATOR = [
    "stems=[bass,drums]",
    "sample_rate=8000",
    "channels=1",
    "open_unmix.n_fft=256",
    "open_unmix.hop_length=64",
    "open_unmix.bandwidth=3000",
    "open_unmix.hidden_size=8",
    "htdemucs.channels=8",
    "htdemucs.depth=2",
    "htdemucs.t_heads=2",
    "htdemucs.nfft=256",
]
TINY_QUANTIZER = ["quantizer.start_step=0", "quantizer.kmeans_vectors=64"]
TINY_DISCRIMINATORS = {
    "stft_windows": ["discriminators.stft_windows=[64,32]", "discriminators.stft_filters=2"],
    "periods": ["discriminators.periods=[2,3]", "discriminators.period_channels=[2,4]"],
    "band_windows": ["discriminators.band_windows=[64]", "discriminators.band_filters=2"],
}
