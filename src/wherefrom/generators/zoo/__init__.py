"""The small GANs of the experiments."""
