"""The page of a run: one static HTML file to hear, see and compare."""
