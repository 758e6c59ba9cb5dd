"""The case file and the fitted values that it names."""
