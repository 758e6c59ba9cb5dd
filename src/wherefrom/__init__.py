"""wherefrom: where did this generated image come from, and who deserves the credit?

One package per question.  `wherefrom.attribution` answers "was this image made by my model?".
"""

import os

# Without it, matrix products on some processors give a row other last bits in another place of its
# batch (`core/passes.py`).  MKL reads it at its first product, and it costs no time.
os.environ.setdefault("MKL_CBWR", "AUTO")

__version__ = "0.1.0"
