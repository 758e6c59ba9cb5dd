"""Reads the weights in a checkpoint safely and matches them to a network."""
