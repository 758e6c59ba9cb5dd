"""The questions of a case about one image, a module each."""
