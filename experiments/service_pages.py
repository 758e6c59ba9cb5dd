"""The table of docs/case.md, from what the load test wrote."""

from __future__ import annotations

from markdown_tables import load, table


def load_table() -> str:
    """64 clients at once."""
    found = load("service_load")
    rows = [
        ["clients at once", found["clients"]],
        ["images, each an upload of its own", found["jobs"]],
        ["size of an upload, MiB", found["upload_mib"]],
        ["seconds for all", found["seconds"]],
        ["until an upload was accepted, s: median, slowest",
         f"{found['accepted_median_s']}, {found['accepted_slowest_s']}"],
        ["memory of the service, MiB: before, peak",
         f"{found['memory_before_mib']}, {found['memory_peak_mib']}"],
    ]  # fmt: skip
    return table(["", "measured"], [[str(cell) for cell in row] for row in rows])


TABLES = {"service_load": load_table}
