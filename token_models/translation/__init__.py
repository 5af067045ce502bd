"""Translation of token sequences: an encoder-decoder that writes the codes of a clean stem one after the other.

It reads the codes of the input, and has no masks: what it writes depends on what it has written before. The thesis
(section 7) tried this with a T5 before it turned to masked models; here it is what they are measured against.

- `patterns.py`: in which step each code is written
- `model.py`: a T5 over codes; its sizes in `config.py`
- `generate.py`: writing with it, at any length
- `step.py`, `task.py`: how it learns
"""
