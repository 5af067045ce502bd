"""Training separators: networks of `codec_ft.data.separators` as a task of the training loop, and their cards."""
