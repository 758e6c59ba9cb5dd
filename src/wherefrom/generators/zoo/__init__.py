"""The small GANs of FLIPAD's experiments: networks, training, files."""
