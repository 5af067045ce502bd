"""Metrics of waveforms, spectra and tokens."""
