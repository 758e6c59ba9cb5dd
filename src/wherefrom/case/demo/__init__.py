"""The demo: five small models fitted to what the package ships, and suspects of known making."""

from wherefrom.case.demo.config import DemoConfig
from wherefrom.case.demo.folder import start_folder
from wherefrom.case.demo.grading import Grade, GradedAnswer, GradedSuspect, grade_folder
from wherefrom.case.demo.method import Demo, make_demo
from wherefrom.case.demo.suspects import SUSPECTS, Suspect

__all__ = [
    "SUSPECTS",
    "Demo",
    "DemoConfig",
    "Grade",
    "GradedAnswer",
    "GradedSuspect",
    "Suspect",
    "grade_folder",
    "make_demo",
    "start_folder",
]
