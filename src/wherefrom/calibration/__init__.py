"""Conformal p-values, thresholds by error rate, false-discovery control, and the verdict."""
