"""Files and databases that do not wait for the disk: only a power cut loses what is written."""

import re
import sqlite3

REAL_CONNECT = sqlite3.connect
DURABLE = re.compile(r"(?<=PRAGMA synchronous = )(NORMAL|FULL|EXTRA)")


class QuickConnection(sqlite3.Connection):
    """A database that does not wait for the disk."""

    def execute(self, sql, *values):
        """As its base, with another `synchronous`."""
        return super().execute(DURABLE.sub("OFF", sql), *values)


def quick_connect(*arguments, **options):
    """`sqlite3.connect` for a `QuickConnection`."""
    return REAL_CONNECT(*arguments, factory=QuickConnection, **options)
