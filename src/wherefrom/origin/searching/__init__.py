"""The steps of a search: same file, copy, W, re-ranking, decision."""
