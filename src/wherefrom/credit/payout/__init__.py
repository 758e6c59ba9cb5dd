"""From shares to cents: division, receipts, settlements."""
