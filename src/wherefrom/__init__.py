"""wherefrom: where did this generated image come from, and who deserves the credit?

One package per question; `help()` of each shows an example:

- `wherefrom.attribution`: did my model make this image?
- `wherefrom.origin`: which of my images was this edit made from?
- `wherefrom.anomaly`: how natural is each image?
- `wherefrom.credit`: who deserves how much credit for my model?
- `wherefrom.inversion`: which code makes this image?
- `wherefrom.case`: all five questions about one image
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

# Without it, matrix products on some processors give a row other last bits in another place of its
# batch (`core/compute/passes.py`).  MKL reads it at its first product, and it costs no time.
os.environ.setdefault("MKL_CBWR", "AUTO")

__version__ = "0.1.0"
PACKAGES = ("attribution", "origin", "anomaly", "credit", "inversion", "case")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a package when it is used: `import wherefrom` alone takes no time."""
        if name in PACKAGES:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
