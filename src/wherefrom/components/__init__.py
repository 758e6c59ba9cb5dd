"""Components of diffusers models, read from local files without running any code.

One loader for every question: `find_component` says where a component lies, `load_component` reads
its weights, `load_autoencoder` gives the autoencoder with the scale of its latents.
"""
