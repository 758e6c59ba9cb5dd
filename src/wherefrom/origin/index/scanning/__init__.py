"""Exact search: approximate scores of all rows, exact ones of the best."""
