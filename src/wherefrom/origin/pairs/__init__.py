"""Pairs of origins and edits: made by pipelines, or read from folders."""
