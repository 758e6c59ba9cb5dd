"""How good shares are: LDS, counterfactuals, rivals, noise, audits."""
