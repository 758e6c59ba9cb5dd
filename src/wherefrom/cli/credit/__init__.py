"""`wherefrom credit`."""
