"""Inversion of a generator's last linear layer: the lasso and its solvers."""
