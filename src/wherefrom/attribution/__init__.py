"""Did my model make this image?

```python
from wherefrom import attribution
from wherefrom.generators import load_generator

fitted = attribution.fit(load_generator("my.py:G", weights=path), others)
fitted.score(images), fitted.check(images), fitted.save("mine.attributor")
```
"""

from wherefrom.attribution.answers import Answers
from wherefrom.attribution.checking import check_paths, explain_path
from wherefrom.attribution.comparison import ComparisonResult, compare
from wherefrom.attribution.config import PRESETS, AttributionConfig, FlipadConfig
from wherefrom.attribution.discovery import control_discoveries
from wherefrom.attribution.evaluation import evaluate
from wherefrom.attribution.explaining import Explanation, explain
from wherefrom.attribution.fitted import Attributor, describe_saved, load
from wherefrom.attribution.method import fit
from wherefrom.attribution.methods import METHODS
from wherefrom.attribution.open_set import Identification, Identity, identify
from wherefrom.attribution.result import CheckResult, EvaluationResult, ImageVerdict, SourceRow
from wherefrom.attribution.scanning import check_in_processes

__all__ = [
    "METHODS",
    "PRESETS",
    "Answers",
    "AttributionConfig",
    "Attributor",
    "CheckResult",
    "ComparisonResult",
    "EvaluationResult",
    "Explanation",
    "FlipadConfig",
    "Identification",
    "Identity",
    "ImageVerdict",
    "SourceRow",
    "check_in_processes",
    "check_paths",
    "compare",
    "control_discoveries",
    "describe_saved",
    "evaluate",
    "explain",
    "explain_path",
    "fit",
    "identify",
    "load",
]
