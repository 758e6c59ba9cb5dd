"""Every verdict passes here: conformal p-values, thresholds by rate, "cannot say"."""
