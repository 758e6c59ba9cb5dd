"""Zoo generators as files: trained, exported with their origin in the header, loaded by name.

A zoo file is safetensors in half precision; its header says architecture, settings, command, seed
and the digest of the images it was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from wherefrom.core.errors import InputError
from wherefrom.core.progress import Track, quiet
from wherefrom.core.rng import stream
from wherefrom.core.saving.store import write_file
from wherefrom.data.images.writing import image_grid, save_png, to_uint8
from wherefrom.generators.checkpoints.weights import load_weights
from wherefrom.generators.zoo.training import GanTask, ZooTrainingConfig
from wherefrom.training.loop import Checkpoints, run

HEADER = "wherefrom-zoo"


def train_zoo(
    images: Tensor,
    out: Path,
    *,
    config: ZooTrainingConfig,
    origin: Mapping[str, str],
    sample_every: int = 1000,
    checkpoint_every: int = 500,
    device: torch.device | str = "cpu",
    track: Track = quiet,
) -> Path:
    """Train one GAN on uint8 images (N, C, S, S) into the folder `out`; the path of its weights.

    `origin` goes into the header of the weights: `images`, the digest of the training images, and
    what else is known, such as the `command`.  `out` gets `checkpoint/`, `samples-<step>.png` and,
    at the end, `generator.safetensors`.  Given the same settings again it continues from the
    checkpoint; other settings are refused.
    """
    shape = (config.channels, config.size, config.size)
    if tuple(images.shape[1:]) != shape:
        raise InputError(f"training images are {tuple(images.shape[1:])}, the settings say {shape}")
    if images.dtype != torch.uint8 or not len(images):
        what = f"they are {images.dtype}" if len(images) else "there is no training image"
        raise InputError(f"training needs images as uint8 (N, C, S, S), but {what}")
    out.mkdir(parents=True, exist_ok=True)
    task = GanTask(images, config, device)
    identity = {"config": config.to_dict(), "images": origin["images"]}

    def show(index: int, _: dict[str, float]) -> None:
        if (index + 1) % sample_every == 0 or index + 1 == config.steps:
            save_png(sample_grid(task.generator, config), out / f"samples-{index + 1:06d}.png")

    run(
        task,
        config.steps,
        label=f"training {config.architecture}",
        checkpoints=Checkpoints(path=out / "checkpoint", every=checkpoint_every, identity=identity),
        after_step=show,
        track=track,
    )
    path = out / "generator.safetensors"
    export(task.generator, path, {**identity, **origin})
    return path


@torch.no_grad()
def sample_grid(generator: nn.Module, config: ZooTrainingConfig, count: int = 64) -> Tensor:
    """The same `count` latents at every call, as one uint8 picture."""
    home = next(generator.parameters()).device
    z = torch.randn(count, config.latent, generator=stream(config.seed, "zoo", "grid"))
    training = generator.training
    generator.eval()
    images = generator(z.to(home)).float().cpu().add(1).div(2)
    generator.train(training)
    return image_grid(to_uint8(images.clamp(0, 1)), 8)


def export(generator: nn.Module, path: Path, origin: Mapping[str, Any]) -> None:
    """Write a zoo file; `origin` needs `config`, the settings of the training."""
    state = {k: v.detach().cpu() for k, v in generator.state_dict().items()}
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in state.items()}
    write_file(path, save(half, metadata={HEADER: json.dumps(dict(origin), sort_keys=True)}))


def read_origin(path: Path) -> dict[str, Any]:
    """The header of a zoo file: `config`, `images` (digest), `command`."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read the zoo weights {path}: {error}") from error
    if text is None:
        raise InputError(f"{path} was not written by `wherefrom zoo train`; name its Python file")
    try:
        origin: dict[str, Any] = dict(json.loads(text))
        return {"config": origin.pop("config"), **origin}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"the header of {path} is damaged; export or download it again") from error


def load_zoo(name: str, weights: Path | None) -> nn.Module:
    """The shipped model `name`, or with an empty name the zoo file `weights`."""
    if name:
        path = shipped().get(name)
        if path is None:
            known = ", ".join(sorted(shipped()))
            raise InputError(f"no zoo model {name!r} is shipped; known: {known}")
    elif weights is None:
        raise InputError("the zoo needs a name (zoo:NAME) or a file trained by it (--weights)")
    else:
        path = weights
    if not path.is_file():
        raise InputError(f"the weights file {path} does not exist")
    config = ZooTrainingConfig.from_dict(read_origin(path)["config"])
    module = config.new_generator()
    load_weights(module, path)
    return module


def shipped() -> dict[str, Path]:
    """Names and files of the models inside the package."""
    folder = Path(str(files("wherefrom") / "assets" / "zoo"))
    return {path.stem: path for path in sorted(folder.glob("[!.]*.safetensors"))}
