"""Pages and tables of credit results."""
