"""Trains the small autoencoder that ships as the default encoder of `wherefrom origin`.

    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds \\
        plasma-workspace-wallpapers          # Debian 12; unpack with dpkg -x into wallpapers/
    python experiments/train_autoencoder.py wallpapers/ --out src/wherefrom/assets/encoders/default

Photographs are seen as random crops of 128 px at four scales, mirrored, with shuffled colour
channels in a part of them.  The loss is the L1 distance of the images and of their differences at
four resolutions; noise on the latent (a tenth of its deviation) keeps nearby latents alike.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from wherefrom.core.limits import Limits
from wherefrom.core.rng import stream
from wherefrom.data.files.opening import UnusableFile
from wherefrom.data.folders import list_images
from wherefrom.data.images.items import read_image, to_image, to_pixels
from wherefrom.encoders.tiny_conv import TinyConvConfig, make_autoencoder, save_autoencoder
from wherefrom.training.loop import Checkpoints, run

SIDES = (176, 256, 384, 576)  # short sides in pixels
CROP = 128
NOISE = 0.1


class AutoencoderTask:
    """A `training.loop.Task`; `encode` and `decode` are the two halves of one module."""

    def __init__(
        self,
        module: nn.Module,
        encode: Callable[[Tensor], Tensor],
        decode: Callable[[Tensor], Tensor],
        photos: list[Tensor],
        *,
        steps: int,
        batch: int,
        rate: float,
        seed: int,
        shrink: float = 0.0,
    ) -> None:
        self.module, self.encode, self.decode = module, encode, decode
        self.photos, self.steps, self.batch, self.rate = photos, steps, batch, rate
        self.seed, self.shrink = seed, shrink
        self.optimizer = torch.optim.Adam(module.parameters(), lr=rate, betas=(0.9, 0.99))

    def modules(self) -> Mapping[str, nn.Module]:
        """The autoencoder."""
        return {"autoencoder": self.module}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Adam."""
        return {"adam": self.optimizer}

    def step(self, index: int) -> dict[str, float]:
        """One batch."""
        rng = stream(self.seed, "autoencoder", index)
        warm = min(1.0, (index + 1) / 200)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * warm * 0.5 * (1 + math.cos(math.pi * index / self.steps))
        x = torch.stack([self.crop(rng) for _ in range(self.batch)])
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            z = self.encode(x)
            spread = z.detach().float().std((0, 2, 3), keepdim=True)
            noise = torch.randn(z.shape, generator=rng)
            out = self.decode(z + NOISE * spread * noise)
        loss = reconstruction_loss(out.float(), x) + self.shrink * z.float().square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        mse = float((out.detach().float().clamp(0, 1) - x).square().mean())
        return {"loss": float(loss.detach()), "norm": float(norm), "psnr": -10 * math.log10(mse)}

    def crop(self, rng: torch.Generator) -> Tensor:
        """A random crop (3, 128, 128) in [0, 1]."""

        def below(n: int) -> int:
            return int(torch.randint(n, (), generator=rng))

        photo = self.photos[below(len(self.photos))]
        top, left = below(photo.shape[1] - CROP + 1), below(photo.shape[2] - CROP + 1)
        x = photo[:, top : top + CROP, left : left + CROP].float() / 255
        x = x.flip(2) if below(2) else x
        return x[torch.randperm(3, generator=rng)] if below(3) == 0 else x


def reconstruction_loss(out: Tensor, x: Tensor) -> Tensor:
    """Mean |out - x| and of the differences of neighbours, at 1, 1/2, 1/4 and 1/8."""
    loss = out.new_zeros(())
    e = out - x
    for _ in range(4):
        slopes = (e[..., 1:, :] - e[..., :-1, :]).abs().mean() + e[..., 1:].sub(
            e[..., :-1]
        ).abs().mean()
        loss = loss + e.abs().mean() + slopes
        e = F.avg_pool2d(e, 2)
    return loss


def read_photos(folder: Path) -> list[Tensor]:
    """uint8 (3, h, w) tensors: every photograph at each of `SIDES`."""
    found = []
    for path in list_images([folder]):
        if "screenshot" in path.name or "contents/images_dark" in str(path):
            continue
        try:
            pixels = read_image(path, channels=3, limits=Limits(max_pixels=60_000_000)).pixels
        except UnusableFile as problem:
            print(f"left out: {problem}")
            continue
        image = to_image(pixels)
        for side in SIDES:
            scale = side / min(image.size)
            if scale <= 1:
                width, height = (max(side, round(scale * n)) for n in image.size)
                found.append(to_pixels(image.resize((width, height), Image.Resampling.BOX)))
    return found


@torch.no_grad()
def psnr(autoencode: Callable[[Tensor], Tensor], photos: list[Tensor]) -> float:
    """Mean PSNR in dB over photographs, squashed to 256 px."""
    values = []
    for photo in photos:
        x = F.interpolate(photo[None].float() / 255, (256, 256), mode="bilinear", antialias=True)
        values.append(-10 * math.log10(float((autoencode(x).clamp(0, 1) - x).square().mean())))
    return sum(values) / len(values)


def latents_of(encode: Callable[[Tensor], Tensor], photos: list[Tensor], seed: int) -> Tensor:
    """Latents (N, c, h, w) of random crops, for their scale."""
    rng = stream(seed, "latents")
    task = AutoencoderTask(
        nn.Linear(1, 1), encode, encode, photos, steps=1, batch=1, rate=0.0, seed=seed
    )
    with torch.no_grad():
        return torch.cat([encode(task.crop(rng)[None]) for _ in range(512)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=7_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/autoencoder"))
    args = parser.parse_args()
    photos = read_photos(args.photos)
    pixels = sum(photo.numel() // 3 for photo in photos)
    print(
        f"{len(photos)} photographs at {len(SIDES)} scales, {pixels / 1e6:.0f} megapixels",
        flush=True,
    )
    config = TinyConvConfig(latent_channels=4)
    module = make_autoencoder(config, seed=args.seed).to(memory_format=torch.channels_last)
    task = AutoencoderTask(
        module,
        module.encode,
        module.decode,
        photos,
        steps=args.steps,
        batch=args.batch,
        rate=args.rate,
        seed=args.seed,
    )
    settings = {k: getattr(args, k) for k in ("steps", "batch", "rate", "seed")}
    points = Checkpoints(path=args.work, every=500, identity=settings | {"pixels": pixels})
    start = time.monotonic()

    def show(index: int, values: dict[str, float]) -> None:
        if index % 100 == 0:
            rounded = {k: round(v, 3) for k, v in values.items()}
            print(index, f"{time.monotonic() - start:.0f} s", rounded, flush=True)

    run(task, args.steps, label="training", checkpoints=points, after_step=show)
    module.set_latent_scale(latents_of(module.encode, photos, args.seed))
    origin = settings | {"crop": CROP, "noise": NOISE, "megapixels": round(pixels / 1e6)}
    save_autoencoder(module, args.out, origin=origin, half=True)
    print(json.dumps(origin | {"psnr": round(psnr(module, photos[:: len(SIDES)]), 2)}))


if __name__ == "__main__":
    main()
