"""Classes that were discovered, and which of them merge."""
