"""Distances and scores of two sets of features."""
