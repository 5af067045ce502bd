"""Filling the masked cells of a code grid with a model that says what may stand in them.

- `sample.py`: the entry point, `sample(predict, codes, mask, config, seeds)`
- `config.py`: its options
- `predict.py`: what a sampler asks of a model
- `noise.py`: randomness, one generator for each item of a batch
- `choose.py`: a code for each cell, from its logits; top-k, top-p, typical
- `ranks.py`: which cells of an item come first
- `filling.py`: the steps that all methods share
- `maskgit.py`: the cells that the model is surest of first
- `order.py`: cells spread evenly over the grid first (Halton)
- `levels.py`: codebook after codebook
- `guidance.py`: classifier-free guidance
- `corrector.py`: what the model itself doubts, sampled again
"""
