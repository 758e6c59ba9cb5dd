"""P-values among real images, flags, and whether the score's assumption holds."""
