"""One training loop for every trainer."""
