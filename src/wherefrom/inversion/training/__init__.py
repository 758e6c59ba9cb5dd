"""The training steps of every method of the thesis, and what a run records."""
