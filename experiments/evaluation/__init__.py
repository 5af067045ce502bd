"""Scoring separators: any folders of audio against references, with floors, ceilings and tests."""
