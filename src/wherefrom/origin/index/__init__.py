"""The exact vector index on disk: files, database, and where its pictures lie."""
