"""Diffusion models: training, sampling, pruning, unlearning, gradients, properties of samples."""
