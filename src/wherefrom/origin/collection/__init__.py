"""Indexes of images: build, add, bring up to date, remove, search."""
