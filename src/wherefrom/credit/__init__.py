"""How much does each contributor of training images add to a property of a generative model?

The model is trained on subsets of the contributors.  Shares are Shapley values of the property,
with intervals, and a pool of money can be divided by them.  In this example a function stands in
for the training, so that it takes a second:

```python
from pathlib import Path

from PIL import Image

from wherefrom import credit

for number, name in enumerate(["ann", "bob", "eve"]):
    Path("images", name).mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), 80 * number).save(Path("images", name, "1.png"))
Path("my_game.py").write_text("def quality(names, seed): return len(names) + ('ann' in names)")
Path("study.toml").write_text('''
[contributors]
folder = "images"
channels = 1
size = 8
[game]
kind = "callable"
callable = "my_game:quality"
[design]
runs = 40
payout = true
[[property]]
kind = "callable"
name = "quality"
''')
study = credit.open_study("study.toml")
credit.run(study)
print(credit.shares(study, property="quality").to_dict())
print(credit.pay(study, "1000.00").to_dict()["records"]["payout"]["payments"])
```

Without [game] `kind = "callable"` the runs train a diffusion model: minutes on a GPU each.

1. `open_study` reads a study file and trains the full model; `run` makes the runs.
2. `shares` gives a `Credit`, whose `shares` are `Shares` with intervals and ranks.
3. `pay` gives a `StudyPayout` by a `PayoutConfig`; `settle` pays from escrow after more runs, and
   `verify` makes a receipt again.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherefrom.credit.estimators.choose import METHODS as METHODS
    from wherefrom.credit.estimators.choose import Credit as Credit
    from wherefrom.credit.method import OpenStudy as OpenStudy
    from wherefrom.credit.method import open_study, run, shares
    from wherefrom.credit.payout.division import PayoutConfig as PayoutConfig
    from wherefrom.credit.payout.of_study import StudyPayout as StudyPayout
    from wherefrom.credit.payout.of_study import pay, settle, verify
    from wherefrom.credit.payout.receipt import read_receipt
    from wherefrom.credit.result import Shares as Shares

# Where each name stands.  It is imported when it is used: the processes that make runs of a
# callable game, and there may be many, do not wait for torch.
_HOMES = {
    "METHODS": "estimators.choose",
    "Credit": "estimators.choose",
    "OpenStudy": "method",
    "open_study": "method",
    "run": "method",
    "PayoutConfig": "payout.division",
    "StudyPayout": "payout.of_study",
    "settle": "payout.of_study",
    "verify": "payout.of_study",
    "read_receipt": "payout.receipt",
    "Shares": "result",
    "pay": "payout.of_study",
    "shares": "method",
}

__all__ = [  # the calls, which `help` shows; the classes stand in their modules
    "open_study",
    "pay",
    "read_receipt",
    "run",
    "settle",
    "shares",
    "verify",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
