"""Images of attribution: own ones, and the states of files."""
