"""Judging files: paths, processes, kept answers, folders as a whole, explanations."""
