"""`wherefrom attribution`."""
