"""Tests of credit share the tiny pipelines of the tests of origin."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "origin"))
