"""Makes runs: train on a subset, sample, measure; here, in processes, on Ray."""
