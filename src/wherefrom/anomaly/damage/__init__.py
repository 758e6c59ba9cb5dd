"""Which images are broken: one p-value per image, of several kinds of evidence."""
