"""The vector index on disk: its promises, files, database and places of pictures."""
