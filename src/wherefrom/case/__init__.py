"""Every question about one image, asked with the fitted values that a case file names.

A case file names attributors, indexes, calibrations, inverters and credit receipts:

```python
from importlib.resources import files
from pathlib import Path

from wherefrom import case
from wherefrom.data import save_png, to_uint8
from wherefrom.generators.loading import load_generator

attributor = Path(str(files("wherefrom") / "assets" / "demo" / "dcgan.attributor"))
suspect = to_uint8(load_generator("zoo:fashion-dcgan-0").sample(1, seed=2))
save_png(suspect[0], Path("suspect.png"))

settings = case.CaseConfig(name="my studio", family_error=0.05)
case.write_case(case.add_parts(case.Case(Path("case.toml"), settings), [attributor]))
with case.open_case(Path("case.toml")) as opened:
    inspection = case.inspect_image(Path("suspect.png"), opened)
print(inspection.answer("model").sentence)
```

In the order of use: `Case` and `add_parts`, `write_case`, `check_case`, `open_case`, then
`inspect_image` or `inspect_folder`.
"""

from wherefrom.case.folder import FolderInspection as FolderInspection
from wherefrom.case.folder import inspect_folder
from wherefrom.case.method import inspect_image
from wherefrom.case.parts.adding import add_parts, check_case
from wherefrom.case.parts.file import Case as Case
from wherefrom.case.parts.file import CaseConfig as CaseConfig
from wherefrom.case.parts.file import read_case, write_case
from wherefrom.case.parts.opened import OpenCase as OpenCase
from wherefrom.case.parts.opened import open_case
from wherefrom.case.result import (
    QUESTIONS as QUESTIONS,
)
from wherefrom.case.result import (
    Inspection as Inspection,
)
from wherefrom.case.result import (
    QuestionAnswer as QuestionAnswer,
)
from wherefrom.case.result import (
    State as State,
)

__all__ = [  # the calls, which `help` shows; the classes stand in their modules
    "add_parts",
    "check_case",
    "inspect_folder",
    "inspect_image",
    "open_case",
    "read_case",
    "write_case",
]
