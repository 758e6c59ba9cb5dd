"""Calibration, evaluation, and the false-discovery rate of a folder."""
