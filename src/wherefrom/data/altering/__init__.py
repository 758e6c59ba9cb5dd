"""Changed images: degradations, corruptions, crops, foreign sets."""
