"""Pages and tables of attribution results."""
