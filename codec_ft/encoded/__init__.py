"""Latents and codes of a data set's excerpts, stored once instead of made in every step of a training."""
