"""Pages and tables of inversion results."""
