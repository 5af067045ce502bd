"""What is hidden from a masked token model, as pure functions: bool `[B, K, T]`, True where a code is to be predicted.

- `schedule`: how much is masked at which progress, and how many cells stay masked after a step of sampling.
- `sobol`: the progress of each item of a training, evenly spread.
- `random_mask`: random cells, of exact or expected number.
- `structured`: by codebook; periodic; prefix, suffix and both kept (inpainting).
- `onset`: the frames around onsets kept.
- `spans`: spans of frames, of exact or expected number.
- `compose`: and, or, dropout, coarse and fine codebooks together.
- `kept`: the same as a user says it, for regeneration.
- `noise`: the uniform numbers that the random ones are made of.
- `checks`: what is refused.

Everything random takes a `torch.Generator`, or one for each item; with the latter an item's mask is what it would be
alone.
"""
