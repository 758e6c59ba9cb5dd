"""Rows of several kinds of evidence, how they are weighed, and which are near-duplicates."""
