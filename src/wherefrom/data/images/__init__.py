"""Images in memory: read, written as PNG or uint8, and shown in a notebook."""
