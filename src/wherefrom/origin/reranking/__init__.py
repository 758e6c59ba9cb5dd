"""Comparing a query with a candidate place by place, in several views."""
