"""Read, write and resample audio."""
