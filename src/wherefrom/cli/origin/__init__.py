"""`wherefrom origin`."""
