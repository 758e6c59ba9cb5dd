"""How natural each generated image is, which images are broken, and which generator is best.

```python
from pathlib import Path

import torch
from torch import nn

from wherefrom import anomaly
from wherefrom.data import save_png, to_uint8
from wherefrom.encoders import make_feature_encoder

for name, noise in {"real": 0.1, "model-a": 0.1, "model-b": 0.3}.items():  # your own folders
    Path(name).mkdir(exist_ok=True)
    for i in range(15):
        image = 0.5 + noise * torch.randn(3, 16, 16, generator=torch.manual_seed(i))
        save_png(to_uint8(image.clamp(0, 1)), f"{name}/{i}.png")

# For real images: wherefrom.encoders.load_feature_encoder(), and the default settings.
layers = nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, 16, 3, 2, 1), nn.Tanh(), nn.Flatten()
encoder = make_feature_encoder(nn.Sequential(*layers), kind="example", resolution=16)
config = anomaly.AuditConfig(false_alarms=0.1, heat_maps=0)

audit = anomaly.audit({"a": "model-a", "b": "model-b"}, "real", encoder, config=config)
print(audit.comparison.ranking.best, audit.images[0].judgement.reason)

result = anomaly.score("model-b", audit.calibration, encoder, false_alarms=0.1)
print(result.flags.message, result.images[0].p_value)
```

In order of use: `audit` compares generators with real images and ranks every image.
`fit_damage_test` and `find_damage` find broken images.  `score` ranks images by complexity and
vulnerability among the real images of a calibration; `explain` says which parts its vulnerability
comes from.  `calibrate` and `AnomalyCalibration` make, save and load a calibration.  `score_images`
gives complexity and vulnerability of tensors (`PRESETS`), `anomaly_score` the AS of one generator.
Everything else is in the subpackages.
"""

from wherefrom.anomaly.auditing import Audit as Audit
from wherefrom.anomaly.auditing import AuditConfig as AuditConfig
from wherefrom.anomaly.auditing import audit
from wherefrom.anomaly.calibration.fitted import AnomalyCalibration as AnomalyCalibration
from wherefrom.anomaly.calibration.judgement import Judgements as Judgements
from wherefrom.anomaly.comparison.generators import anomaly_score
from wherefrom.anomaly.config import PRESETS as PRESETS
from wherefrom.anomaly.config import AnomalyConfig as AnomalyConfig
from wherefrom.anomaly.damage.fitted import DamageConfig as DamageConfig
from wherefrom.anomaly.damage.fitted import DamageReport as DamageReport
from wherefrom.anomaly.damage.fitted import DamageTest as DamageTest
from wherefrom.anomaly.damage.fitted import find_damage, fit_damage_test
from wherefrom.anomaly.localisation.heat_maps import Localisation as Localisation
from wherefrom.anomaly.localisation.heat_maps import explain
from wherefrom.anomaly.measuring.scoring import score_images
from wherefrom.anomaly.method import calibrate, score
from wherefrom.anomaly.result import ImageScores as ImageScores

__all__ = [  # noqa: RUF022 (in order of use; `help` shows these calls)
    "audit",
    "fit_damage_test",
    "find_damage",
    "score",
    "explain",
    "calibrate",
    "score_images",
    "anomaly_score",
]
