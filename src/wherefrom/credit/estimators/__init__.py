"""Estimators of shares with intervals, designs of subsets to run, and plans of budgets."""
