"""Error rates and AUROC of a fitted attributor, and methods side by side."""
