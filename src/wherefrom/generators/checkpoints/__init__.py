"""Weights in checkpoints of strangers: read safely, matched to a network."""
