"""The demo: five small models fitted to shipped images, and test images of known origin."""

from wherefrom.case.demo.folder import start_folder
from wherefrom.case.demo.grading import Grade, GradedAnswer, GradedSuspect, grade_folder
from wherefrom.case.demo.material import DemoConfig
from wherefrom.case.demo.method import Demo, inspect_demo, make_demo
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
    "inspect_demo",
    "make_demo",
    "start_folder",
]
