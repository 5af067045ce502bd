"""Data sets of multi-track music: made, found, checked and sampled."""
