"""VampNet's own models (Flores García et al., 2023), read into `TokenModel`, which then computes what they compute.

- `checkpoint`: its files, read without running what is in them;
- `sizes`: what a file says of its model, and the tensors that such a model has;
- `names`: its linear layers, and where they are here;
- `convert`: its tensors as the weights of a `TokenModel`;
- `adapters`: its low-rank adapters, merged into the weights or kept for fine-tuning;
- `releases`: the published files;
- `load`: all of it together.
"""
