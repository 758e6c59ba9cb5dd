"""How natural is each of these generated images, which are broken, and which generator is best?

```python
from wherefrom.anomaly import calibrate, score_files
from wherefrom.encoders import load_feature_encoder

encoder = load_feature_encoder()
calibration, _ = calibrate([Path("real")], encoder)
calibration.judge(score_files([Path("gen")], encoder), false_alarms=0.01)
```
"""

from wherefrom.anomaly.auditing import Audit, AuditConfig, audit
from wherefrom.anomaly.calibration.assumption import (
    AssumptionCheck,
    AssumptionConfig,
    check_assumption,
)
from wherefrom.anomaly.calibration.fitted import Calibration, fit_calibration, load_calibration
from wherefrom.anomaly.calibration.judgement import FalseAlarms, ImageJudgement, worst_first
from wherefrom.anomaly.comparison.generators import (
    Comparison,
    ComparisonConfig,
    GeneratorScore,
    anomaly_score,
    compare_generators,
)
from wherefrom.anomaly.config import PRESETS, AnomalyConfig
from wherefrom.anomaly.localisation.heat_maps import Localisation, LocalisationConfig, explain
from wherefrom.anomaly.measuring.cache import FolderCache, MemoryCache
from wherefrom.anomaly.measuring.numerics import NumericsCheck, check_numerics
from wherefrom.anomaly.measuring.scoring import complexity, score_files, score_images, vulnerability
from wherefrom.anomaly.method import calibrate, score_progressively
from wherefrom.anomaly.result import ImageScores

__all__ = [
    "PRESETS",
    "AnomalyConfig",
    "AssumptionCheck",
    "AssumptionConfig",
    "Audit",
    "AuditConfig",
    "Calibration",
    "Comparison",
    "ComparisonConfig",
    "FalseAlarms",
    "FolderCache",
    "GeneratorScore",
    "ImageJudgement",
    "ImageScores",
    "Localisation",
    "LocalisationConfig",
    "MemoryCache",
    "NumericsCheck",
    "anomaly_score",
    "audit",
    "calibrate",
    "check_assumption",
    "check_numerics",
    "compare_generators",
    "complexity",
    "explain",
    "fit_calibration",
    "load_calibration",
    "score_files",
    "score_images",
    "score_progressively",
    "vulnerability",
    "worst_first",
]
