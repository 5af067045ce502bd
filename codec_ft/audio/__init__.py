"""Read, write, resample and measure audio."""
