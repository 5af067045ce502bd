"""Masked token transformers that write the codes of a clean stem (thesis, section 7).

- `model.py`: the transformer, over `embedding.py` and `conditioning/`; its sizes in `config.py`
- `masks/`: what is hidden from it, and how much of it at which progress
- `sampling/`: how masked cells are filled with it
- `generate.py`, `windows.py`: grids of any length
- `training/`: how it learns, and what it may begin with; `adapters.py`: low-rank ones
- `writer.py`, `settle.py`, `apply.py`, `save.py`, `load.py`, `__main__.py`: trained models at work, and on disk
- `vampnet/`: VampNet's own files as weights of this model
- `translation/`: the encoder-decoder that translates token sequences, as a baseline
"""
