"""Everything that is saved: artifacts, the files they consist of, SQLite files and JSON text."""
