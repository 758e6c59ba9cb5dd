"""`wherefrom anomaly`."""
