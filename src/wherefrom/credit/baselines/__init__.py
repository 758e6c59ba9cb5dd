"""Scores of contributors without any run: similarity and gradients."""
