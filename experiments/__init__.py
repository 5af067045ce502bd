"""Experiments by ID and the pages that report them."""
