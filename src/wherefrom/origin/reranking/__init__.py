"""Views of a query, and its comparison with a candidate place by place."""
