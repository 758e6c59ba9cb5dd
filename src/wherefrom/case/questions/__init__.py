"""The five questions asked of one opened image."""
