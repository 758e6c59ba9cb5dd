"""Anomaly scores of generators, compared and ranked."""
