"""Finding the last linear layer of a generator and what follows it."""
