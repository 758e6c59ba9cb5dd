"""From the utilities of runs to shares with intervals, and which subsets to run."""
