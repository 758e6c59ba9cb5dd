"""Outlier scores of an inverter, how one is chosen and calibrated."""
