"""The ledger, a file of all runs and their results, and the workers that make the runs."""
