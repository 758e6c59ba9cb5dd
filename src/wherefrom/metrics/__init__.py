"""Numbers that compare: accuracy, AUROC, exact intervals."""
