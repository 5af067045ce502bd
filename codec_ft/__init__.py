"""Audio in, latents and tokens out, and the fine-tuning of codecs: the foundation of token-based separation."""
