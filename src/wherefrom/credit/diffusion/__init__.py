"""Diffusion models: training, sampling, pruning, unlearning and the user's own networks."""
