"""What a token model is shown of its input, as features of the grid's frames, `[B, T, W]`.

- `heard`: what is heard of an input, in the forms that conditions read;
- `parts`: one module for each form: codes, latents, spectrogram;
- `condition`: the parts together, left out at random for classifier-free guidance.
"""
