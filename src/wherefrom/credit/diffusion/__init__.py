"""The diffusion model that is credited, and what is done to it: LoRA excepted."""
