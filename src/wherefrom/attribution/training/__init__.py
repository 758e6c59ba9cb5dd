"""Images by altered last layers, which stand in for unknown models."""
