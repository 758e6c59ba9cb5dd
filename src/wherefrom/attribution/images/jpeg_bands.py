"""The bands of JPEG quality that are calibrated apart."""

from __future__ import annotations

JPEG_BANDS = ((90, 100), (80, 89), (70, 79), (60, 69))


def jpeg_band(quality: int) -> tuple[str, str]:
    """The name of the band of a quality and "", or "" and why no band covers it."""
    for low, high in JPEG_BANDS:
        if low <= quality <= high:
            return f"JPEG {low}-{high}", ""
    return "", (
        f"the file is a JPEG of quality {quality}; calibrated are "
        f"{JPEG_BANDS[-1][0]} to {JPEG_BANDS[0][1]}"
    )
