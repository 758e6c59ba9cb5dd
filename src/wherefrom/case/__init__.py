"""One case: all five questions of one image, asked of the fitted things that a file names."""

from wherefrom.case.file import Case, CaseConfig, read_case, write_case
from wherefrom.case.method import inspect_image
from wherefrom.case.opened import OpenCase, open_case
from wherefrom.case.result import QUESTIONS, Answer, Claim, Inspection, Part, State

__all__ = [
    "QUESTIONS",
    "Answer",
    "Case",
    "CaseConfig",
    "Claim",
    "Inspection",
    "OpenCase",
    "Part",
    "State",
    "inspect_image",
    "open_case",
    "read_case",
    "write_case",
]
