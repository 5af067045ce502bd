"""Separated stems, the inputs that enhancement learns from: separators, and what stands in for them.

- `base`: the interface, `separate(mixture, sample_rate) -> stem -> audio`; `load`: separators by name or path;
- `trained`: networks that were trained here (`open_unmix`, `htdemucs`; `networks` has what they share and their
  files; `weights/` holds one that is ready to use), applied to long audio in `chunks`;
- `demucs`: pretrained models of that package;
- `sources`: what gives the separated stems of a track; it may be a separator, a stand-in (`stand_ins/`), or files that
  another program wrote (`folder`), each `named`;
- `build`: writes `separated/<name>/<split>/<track>/<stem>.wav` for a whole data set.
"""
