"""Numbers that compare: accuracy, AUROC, exact intervals, distances of feature sets."""
