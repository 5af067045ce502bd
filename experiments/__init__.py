"""Experiments from their configuration to the page that reports them, and samples of trained runs."""
