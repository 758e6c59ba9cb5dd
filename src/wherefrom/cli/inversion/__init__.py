"""`wherefrom inversion`."""
