"""The table of results: what the thesis found beside what our runs measured, and whether the one shows in the other."""
