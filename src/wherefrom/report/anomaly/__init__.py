"""Pages and tables of anomaly results."""
