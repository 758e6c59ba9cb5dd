"""The file of the runs that were made, safe against killed processes."""
