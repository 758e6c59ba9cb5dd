"""Loading components of diffusers models from local files, without running any code.

`folders.find_component` finds a component on disk, `loading.load_component` reads its weights, and
`autoencoders.load_autoencoder` loads an autoencoder with the scale of its latents.
"""
