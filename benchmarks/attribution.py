"""Time and memory of attribution: every method per 1,000 images, and two methods by stage.

    python benchmarks/attribution.py                        both parts
    python benchmarks/attribution.py --parts stages         fit and check by stage
    python benchmarks/attribution.py --parts stages --weights weights.tar    with the DCGAN of faces

A part that is not run keeps what --out holds of it.

`stages` (attribution_stages.py): whole default fits of `patches` and `flipad` and a check, in
seconds by stage, at 32 px (the zoo's DCGAN) and 64 px (an untrained DCGAN, or that of --weights),
with --threads threads, idle and beside one process that multiplies matrices with as many.  Run it
alone.

`methods`: time and peak memory per 1,000 images for every method, at 64, 128 and 512 px.  Every
method and size runs in a process of its own, so that its peak memory is its own.  Generators are
untrained: time and memory do not depend on the weights.

64 px: the zoo's DCGAN, width 64, the paper's last layer.  128 px: one stage more, grey, as the
paper's medical models.  512 px: a decoder that ends in a 3x3 convolution of 128 channels, as Stable
Diffusion's; FLIPAD inverts its centre there (`--crop 128`).

AEDR's time is that of the model's two halves: the encoder here is an untrained one of strided
convolutions from the image down to the latent.

Scoring is timed on --images images and scaled to 1,000; the fit is a tiny one, since scoring is
what a user waits for again and again; FLIPAD is the paper's, without the classifier, which adds a
little to the inversion.  SM-Inv's steps all cost the same, so --inversion-steps of
them are run, with the paper's 10 restarts, and scaled to the paper's 1,000.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from attribution_stages import (
    METHOD_NAMES,
    STAGE_SIZES,
    dcgan_of_64_px,
    measured,
    print_stages,
    settings_in,
)
from torch import Tensor, nn

from wherefrom import __version__
from wherefrom.attribution.methods import METHODS
from wherefrom.attribution.protocol import FitMaterial, stored_samples
from wherefrom.data import to_float
from wherefrom.generators.generator import Generator, wrap_generator

SIZES = (64, 128, 512)
PARTS = ("methods", "stages")
TINY = {
    "train_samples": 64,
    "calibration_samples": 20,
    "mean_samples": 64,
    "impostors": 0.0,
    "classifier_samples": 0,
    "reference_samples": 20,
    "detector.epochs": 1,
    "spectrum.detector.epochs": 1,
}
INVERSION_STEPS = 1000  # App. G.7
CENTRE = {"crop": 128, "halo": 16, "channels": 3, "max_side": 128}


class Decoder(nn.Module):
    """512 px: nearest upsampling of a small latent, and a 3x3 convolution from 128 channels."""

    latent_shape = (4, 64, 64)

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 128, 3, padding=1)
        self.last = nn.Conv2d(128, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(N, 4, 64, 64) -> (N, 3, 512, 512) in [0, 1]."""
        hidden = torch.relu(self.inner(nn.functional.interpolate(z, scale_factor=8)))
        out: Tensor = torch.sigmoid(self.last(hidden))
        return out


class Autoencoder(nn.Module):
    """A decoder behind an encoder that halves the side until the latent is reached."""

    def __init__(self, decoder: nn.Module, image: tuple[int, ...], latent: tuple[int, ...]) -> None:
        super().__init__()
        self.decoder, self.latent_shape = decoder, latent
        before, side, places = image[0], image[1], math.prod(latent[1:])
        width = 64
        layers: list[nn.Module] = []
        while side**2 > max(places, 16):
            layers += [nn.Conv2d(before, width, 4, 2, 1), nn.ReLU()]
            before, width, side = width, min(2 * width, 512), side // 2
        layers.append(nn.Conv2d(before, latent[0], side if places == 1 else 1))
        self.encoder = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """The decoder's."""
        made: Tensor = self.decoder(z)
        return made

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) -> the decoder's, (N, C, H, W)."""
        return self.forward(self.encoder(images).reshape(-1, *self.latent_shape))


def generator_of(size: int, *, encodes: bool = False) -> Generator:
    """An untrained generator of that size; `encodes`: with an encoder."""
    torch.manual_seed(0)
    module, latent, image = _decoder_of(size)
    return wrap_generator(Autoencoder(module, image, latent) if encodes else module, latent=latent)


def _decoder_of(size: int) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """The network, and the shapes of its latents and images."""
    if size == 64:
        return dcgan_of_64_px(), (100,), (3, 64, 64)
    if size == 512:
        return Decoder(), Decoder.latent_shape, (3, 512, 512)
    widths = (512, 256, 128, 64, 64)
    layers: list[nn.Module] = [nn.ConvTranspose2d(100, widths[0], 4, 1, 0)]
    for before, after in zip(widths, (*widths[1:], 1), strict=True):
        layers += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
    return nn.Sequential(*layers, nn.Tanh()), (100, 1, 1), (1, 128, 128)


def measure(method: str, size: int, images: int, steps: int) -> dict[str, Any]:
    """One method at one size, in this process."""
    chosen = METHODS[method]
    generator = generator_of(size, encodes=chosen.needs == "encoder")
    config = chosen.presets["default"]
    wanted = TINY | (CENTRE if size == 512 else {})
    known = settings_in(config.to_dict())
    config = config.with_values({k: v for k, v in wanted.items() if k in known})
    inverts = method.startswith("inversion")
    if inverts:
        config = config.with_values({"steps": steps, "chunk": 1})
    count = 1 if inverts else images if size < 512 else max(1, images // 20)
    factor = INVERSION_STEPS / steps if inverts else 1
    others = torch.randint(0, 256, (64, *generator.image_shape), dtype=torch.uint8)
    start = time.perf_counter()
    scorer = chosen.fit(FitMaterial(generator, others, 0), config)
    fitted = time.perf_counter()
    pixels = to_float(stored_samples(generator, count, 1))
    begun = time.perf_counter()
    for part in torch.split(pixels, 64 if size < 512 else 1):
        scorer.score(part)
    spent = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {
        "method": method,
        "title": chosen.title,
        "size": size,
        "images": count,
        "fit_seconds": fitted - start,
        "steps": steps if inverts else None,
        "seconds_per_1000": spent * 1000 / count * factor,
        "peak_mib": peak,
    }


def method_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Every method and size in a process of its own."""
    rows = []
    for size in args.sizes:
        for method in args.methods:
            command = [sys.executable, __file__, "--one", method, str(size)]
            command += ["--images", str(args.images)]
            command += ["--inversion-steps", str(args.inversion_steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
                rows.append({"method": method, "size": size, "failed": reason})
            else:
                rows.append(json.loads(done.stdout))
            print(rows[-1], flush=True)
    return rows


def stage_runs(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The methods of `attribution_stages` at its sizes, printed as they end."""
    runs = []
    for size in STAGE_SIZES:
        for method in METHOD_NAMES:
            runs.append(measured(method, size, args))
            print_stages(runs[-1])
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/results/attribution_speed.json"))
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES), choices=SIZES)
    parser.add_argument("--images", type=int, default=100, help="to score, or to check")
    parser.add_argument("--inversion-steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2, help="of each stages' run")
    parser.add_argument("--others", type=int, default=1000, help="in each stages' fit")
    parser.add_argument("--weights", type=Path, help="gan-face-generate's, for stages at 64 px")
    parser.add_argument("--tiny", action="store_true", help="tiny fits in stages: does it work?")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        method, size = args.one[0], int(args.one[1])
        print(json.dumps(measure(method, size, args.images, args.inversion_steps)))
        return
    versions = {"wherefrom": __version__, "torch": torch.__version__}
    result = json.loads(args.out.read_text()) if args.out.exists() else {}
    if "methods" in args.parts:
        result |= {
            "command": "python benchmarks/attribution.py --parts methods",
            **versions,
            "threads": torch.get_num_threads(),
            "rows": method_rows(args),
        }
    if "stages" in args.parts:
        result |= {
            "stages_command": "python benchmarks/attribution.py --parts stages",
            "stages_versions": versions,
            "stages": stage_runs(args),
        }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
