"""The ledger: a file of all runs and their results, safe if a process is killed."""
