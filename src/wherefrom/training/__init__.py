"""The training loop of every method: checkpoints, resuming, progress, log (`loop.run`)."""
