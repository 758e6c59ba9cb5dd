"""Evaluation of shares: LDS, counterfactual changes, baselines, noise, audits."""
