"""Stand-ins for pretrained separators: degraded stems that are made from the true ones.

A pretrained separator (Spleeter, Demucs) makes the best input for learning to enhance separated stems, but its
weights come from a network and its training data are not free. Where none can be loaded, these modules make from the
true stems of a track what such a separator might have given for their mixture. No separation takes place: the
truth is degraded in the way that is known of the two families of separators, as much as their published
scores say.

- `spectrogram`: errs like a mask on the mixture's spectrogram (Spleeter): no highs, smeared transients, patchy bleed;
- `waveform`: errs like a waveform model (Demucs): faint bleed, small losses where stems overlap, some hiss;
- `calibrate`: sets the strength of the errors so that each stem reaches its published SDR on the data set at hand;
- `source`: gives the stems of a whole data set's tracks.

The errors are random fields on top of a true one, so part of them cannot be learned from anything; a trained
separator errs more systematically. Say so where results on these stems are reported.
"""
