"""One query from file to answer: same file, copy, W, re-ranking, decision."""
