"""Payouts: division of a pool of money by shares, receipts, settlements."""
