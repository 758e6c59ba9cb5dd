"""Reports of inspections: of one image, of a folder, signed, of the demo."""
