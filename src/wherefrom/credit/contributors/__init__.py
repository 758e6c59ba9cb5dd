"""Who gave which images: reading them, contributors as players, groups."""
