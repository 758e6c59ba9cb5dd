"""What the reader of a study's shares has to know about the study, besides the numbers."""

from __future__ import annotations

from wherefrom.credit.method import OpenStudy


def study_remarks(opened: OpenStudy) -> list[str]:
    """Sentences about who plays."""
    data, told = opened.data, list[str]()
    if data.origin is not None:
        told.append(f"the game is played between {data.seating}")
    return told
