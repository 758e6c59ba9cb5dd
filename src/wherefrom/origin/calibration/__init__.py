"""Null scores from queries whose origin is left out; evaluation; folders as a whole."""
