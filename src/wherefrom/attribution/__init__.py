"""Did my model make this image?

```python
from wherefrom import attribution
from wherefrom.generators import load_generator

fitted = attribution.fit(load_generator("my.py:G", weights=path), others)
fitted.score(images), fitted.check(images), fitted.save("mine.attributor")
```
"""

from wherefrom.attribution.checking.cache import Answers
from wherefrom.attribution.checking.discovery import control_discoveries
from wherefrom.attribution.checking.explaining import Explanation, explain
from wherefrom.attribution.checking.open_set import Identification, Identity, identify
from wherefrom.attribution.checking.paths import check_paths, explain_path
from wherefrom.attribution.checking.processes import check_in_processes
from wherefrom.attribution.config import PRESETS, AttributionConfig, FlipadConfig
from wherefrom.attribution.evaluation.comparison import ComparisonResult, compare
from wherefrom.attribution.evaluation.per_source import evaluate
from wherefrom.attribution.fitted import Attributor, describe_saved, load
from wherefrom.attribution.method import fit
from wherefrom.attribution.methods import METHODS
from wherefrom.attribution.result import CheckResult, EvaluationResult, ImageVerdict, SourceRow

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
