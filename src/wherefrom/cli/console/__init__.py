"""Shared by all commands: output, options, progress, notes."""
