"""Complexity and vulnerability of images, in batches, cached by content."""
