"""Which part of an image raises its score."""
