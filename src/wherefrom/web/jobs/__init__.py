"""Jobs of the service: their history, and the processes that work on them."""
