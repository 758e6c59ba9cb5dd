"""Who gave which images: reading them, contributors as players, groups."""

from wherefrom.credit.contributors.reading import contributors_from_csv

__all__ = ["contributors_from_csv"]
