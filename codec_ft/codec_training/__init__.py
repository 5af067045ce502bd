"""Training a codec from scratch."""
