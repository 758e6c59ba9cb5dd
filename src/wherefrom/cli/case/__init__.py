"""`wherefrom case`, `inspect`, `serve` and `demo`."""
