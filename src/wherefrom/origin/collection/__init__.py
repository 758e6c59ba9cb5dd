"""A folder of references kept as an index: add, bring up to date, remove."""
