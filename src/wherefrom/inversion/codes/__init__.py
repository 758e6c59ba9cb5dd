"""Working with codes: encode, refine, edit, report, evaluate."""
