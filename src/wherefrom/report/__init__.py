"""Results as tables, plots and pages.  Nothing is computed here that is not in the result."""
