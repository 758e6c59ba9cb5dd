"""Pages of inspections: one image, a folder, signed, the demo."""
