"""Makes `frozen/`: small artifacts, images, and the answers of the processor that this runs on.

    python tests/processors/make_frozen.py        (from the project's root; seed 0 throughout)

The models are untrained networks with random weights, so nobody's work is in them.
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from answers import ATTRIBUTORS, HERE, INVERTERS, answers, frozen

sys.path.insert(0, str(Path(__file__).parents[1]))

COUNT = 40  # own images, and others
IMAGE = (3, 32, 32)
SMALL = {"detector.epochs": 2, "detector.batch": 32, "detector.representation": 16}
SETTINGS = {
    "flipad": {"classifier_samples": 0, "mean_samples": 64, "lasso.iterations": 20, **SMALL},
    "fingerprint": {},
}
RATES = {
    "train_samples": 60,
    "calibration_samples": COUNT,
    "sibling_samples": COUNT,
    "sibling_rate": 0.1,
    "false_negative_rate": 0.1,
    "false_positive_rate": 0.2,
}


def main() -> None:
    from untrained_inverters import blobs, fitted_to

    from wherefrom.attribution import METHODS, fit
    from wherefrom.core.rng import stream
    from wherefrom.data.images.writing import to_uint8
    from wherefrom.generators.generator import wrap_generator
    from wherefrom.generators.zoo.networks import initialise, make_generator
    from wherefrom.inversion.outliers.detecting import make_detector

    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    module = make_generator("dcgan", size=32, channels=3, width=2, latent=4)
    initialise(module, stream(0, "frozen", "generator"))
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.ConvTranspose2d):
                part.weight.mul_(8)
    generator = wrap_generator(module)
    images = {
        "own": to_uint8(generator.sample(COUNT, seed=1)),
        "others": to_uint8(blobs(COUNT, 1, IMAGE)),
    }
    np.savez_compressed(HERE / "images.npz", **{k: v.numpy() for k, v in images.items()})
    for name in ATTRIBUTORS:
        config = METHODS[name].presets["default"].with_values({**SETTINGS[name], **RATES})
        fitted = fit(generator, to_uint8(blobs(110, 0, IMAGE)), method=name, config=config)
        own = fitted.score(images["own"])
        dataclasses.replace(fitted, own_scores=own).save(HERE / name)
    own = frozen("own")[:, :1, ::2, ::2].float() / 255
    inverter = fitted_to(own, shape=(1, 16, 16))
    inverter.save(HERE / "inverter")
    scores = {name: make_detector(inverter, name, 0.0).score(own).tolist() for name in INVERTERS}
    (HERE / "own_scores.json").write_text(json.dumps(scores))
    (HERE / "answers.json").write_text(json.dumps(answers(), indent=1) + "\n")


if __name__ == "__main__":
    main()
