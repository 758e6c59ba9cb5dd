"""The service: the same inspection behind a queue, as a REST interface and one page."""
