"""Trains the small latent diffusion editors of experiments/origin_tables.py.

    python experiments/train_editors.py --data ../shared/data/photos --editor a --out build/editors

Each editor is a diffusers Stable Diffusion folder: a VAE, a text encoder with a vocabulary of some
forty words, a U-Net and a schedule, all trained here from random weights on the split "editors" of
the photographs.  A caption names the brightness, colourfulness, hue and texture that are measured
in the picture, so that a prompt that says otherwise changes them.

    a   VAE 1, epsilon prediction, DDIM                    the editor that W is trained on
    b   VAE 1, v prediction, cosine schedule, DPM-Solver, narrower, another seed
    c   VAE 2 (eight channels), epsilon prediction, ancestral Euler, another seed
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from train_autoencoder import AutoencoderTask, latents_of

from wherefrom.core.rng import derive_seed, stream
from wherefrom.core.saving.store import digest_file
from wherefrom.data.folders import list_images
from wherefrom.data.images.items import crop_and_resize, read_image
from wherefrom.data.splits import split_indices
from wherefrom.training.loop import Checkpoints, run

SPLITS = {"editors": 300, "train": 200, "calibration": 101, "test": 200}
SIDE = 128
VIEWS = 12  # crops of a photograph
DROPPED = 0.15  # share of captions left empty, for guidance
TOKENS = 16
HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
WORDS = ("a", "photo", "dark", "bright", "muted", "vivid", "smooth", "busy", "soft", "hard", *HUES)


@dataclass(frozen=True)
class Editor:
    """What tells one editor from another."""

    vae: str
    widths: tuple[int, ...]
    prediction: str
    scheduler: str
    schedule: str


EDITORS = {
    "a": Editor("1", (64, 128, 192), "epsilon", "DDIMScheduler", "scaled_linear"),
    "b": Editor(
        "1", (48, 128, 160), "v_prediction", "DPMSolverMultistepScheduler", "squaredcos_cap_v2"
    ),
    "c": Editor("2", (64, 128, 192), "epsilon", "EulerAncestralDiscreteScheduler", "scaled_linear"),
}
# VAE -> latent channels, width
VAES = {"1": (4, 48), "2": (8, 40)}


def split_photos(folder: Path) -> dict[str, list[Path]]:
    """The photographs of each split, by their content."""
    paths = [path for path in list_images([folder]) if path.suffix.lower() in (".jpg", ".jpeg")]
    chosen = split_indices([digest_file(path) for path in paths], SPLITS, seed=0)
    return {name: [paths[i] for i in rows] for name, rows in chosen.items()}


def read_views(paths: list[Path], seed: int) -> Tensor:
    """uint8 (N, 3, 128, 128): `VIEWS` random crops of each photograph, squashed and mirrored."""
    views = []
    for number, path in enumerate(paths):
        pixels = read_image(path, channels=3).pixels.float()
        rng = stream(seed, "views", number)
        for _ in range(VIEWS):
            u = torch.rand(5, generator=rng).tolist()
            h, w = (
                max(32, round(n * (0.55 + 0.45 * x)))
                for n, x in zip(pixels.shape[1:], u, strict=False)
            )
            h, w = min(h, pixels.shape[1]), min(w, pixels.shape[2])
            top, left = (
                round((n - m) * x) for n, m, x in zip(pixels.shape[1:], (h, w), u[2:], strict=False)
            )
            part = pixels[None, :, top : top + h, left : left + w]
            part = F.interpolate(part, (SIDE, SIDE), mode="bilinear", antialias=True)[0]
            views.append((part.flip(2) if u[4] < 0.5 else part).round().clamp(0, 255).byte())
    return torch.stack(views)


def at_sides(path: Path) -> list[Tensor]:
    """uint8 (3, h, w): a photograph with short sides of 128, 192 and 256 px."""
    pixels = read_image(path, channels=3).pixels
    sides = [s for s in (SIDE, 192, 256) if s <= min(pixels.shape[1:])]
    return [
        crop_and_resize(pixels, (round(pixels.shape[1] * s / m), round(pixels.shape[2] * s / m)))
        for s in sides
        for m in [min(pixels.shape[1:])]
    ]


def caption(view: Tensor) -> str:
    """What is measured in uint8 (3, H, W), in words."""
    x = F.avg_pool2d(view[None].float() / 255, 4)[0]
    top, low = x.amax(0), x.amin(0)
    light, chroma = float(x.mean()), float((top - low).mean())
    contrast, detail = float(x.mean(0).std()), float((x[:, 1:] - x[:, :-1]).abs().mean())
    words = ["a"]
    words += ["dark"] if light < 0.36 else ["bright"] if light > 0.56 else []
    words += ["muted"] if chroma < 0.12 else ["vivid"] if chroma > 0.28 else []
    if chroma >= 0.08:
        words.append(HUES[_hue(x)])
    words += ["photo"]
    words += ["soft"] if contrast < 0.17 else ["hard"] if contrast > 0.25 else []
    words += ["smooth"] if detail < 0.03 else ["busy"] if detail > 0.06 else []
    return " ".join(words)


def _hue(x: Tensor) -> int:
    """The most frequent of eight hues, weighed by colourfulness."""
    red, green, blue = x
    angle = torch.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * math.pi)
    chroma = x.amax(0) - x.amin(0)
    bins = ((angle % 1) * len(HUES)).round().long() % len(HUES)
    return int(torch.bincount(bins.flatten(), chroma.flatten(), minlength=len(HUES)).argmax())


def train_vae(name: str, photos: list[Path], out: Path, steps: int) -> Any:
    """An `AutoencoderTiny` with latents of about unit deviation; trained once, then read."""
    from diffusers import AutoencoderTiny

    folder = out / f"vae-{name}"
    if (folder / "config.json").is_file():
        return AutoencoderTiny.from_pretrained(folder)
    channels, width = VAES[name]
    seed = derive_seed(0, "vae", name) % 2**31
    torch.manual_seed(seed)
    vae = AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=(width,) * 4,
        decoder_block_out_channels=(width,) * 4,
        num_encoder_blocks=(0, 0, 2, 3),
        num_decoder_blocks=(3, 2, 0, 0),
    ).to(memory_format=torch.channels_last)
    pictures = [picture for path in photos for picture in at_sides(path)]
    task = AutoencoderTask(
        vae,
        lambda x: vae.encoder(2 * x - 1),
        lambda z: (vae.decoder(z) + 1) / 2,
        pictures,
        steps=steps,
        batch=8,
        rate=1e-3,
        seed=seed,
        shrink=1e-3,
    )
    identity = {"vae": name, "steps": steps, "photos": len(pictures)}
    points = Checkpoints(path=out / f"vae-{name}.part", every=500, identity=identity)
    run(task, steps, label=f"VAE {name}", checkpoints=points, after_step=_print(f"VAE {name}"))
    z = latents_of(lambda x: vae.encoder(2 * x - 1), pictures, seed)
    vae.register_to_config(scaling_factor=float(1 / z.std()))
    vae.save_pretrained(folder)
    return vae


class DiffusionTask:
    """A `training.loop.Task`: Ho et al.'s loss on latents with captions, and a running mean."""

    def __init__(
        self, unet: nn.Module, text: nn.Module, scheduler: Any, latents: Tensor, tokens: Tensor,
        empty: Tensor, *, steps: int, batch: int, rate: float, seed: int,
    ) -> None:  # fmt: skip
        self.unet, self.text, self.scheduler = unet, text, scheduler
        self.latents, self.tokens, self.empty = latents, tokens, empty
        self.steps, self.batch, self.rate, self.seed = steps, batch, rate, seed
        self.both = nn.ModuleDict({"unet": unet, "text": text})
        self.mean = torch.optim.swa_utils.AveragedModel(
            self.both, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
        )
        self.optimizer = torch.optim.AdamW(self.both.parameters(), lr=rate, weight_decay=1e-2)

    def modules(self) -> Mapping[str, nn.Module]:
        """U-Net and text encoder, and their running means."""
        return {"both": self.both, "mean": self.mean}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """AdamW."""
        return {"adamw": self.optimizer}

    def step(self, index: int) -> dict[str, float]:
        """One batch."""
        rng = stream(self.seed, "diffusion", index)
        factor = min(1.0, (index + 1) / 200) * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * index / self.steps))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        rows = torch.randint(len(self.latents), (self.batch,), generator=rng)
        x, tokens = self.latents[rows].float(), self.tokens[rows].clone()
        tokens[torch.rand(self.batch, generator=rng) < DROPPED] = self.empty
        t = torch.randint(1000, (self.batch,), generator=rng)
        noise = torch.randn(x.shape, generator=rng)
        noisy = self.scheduler.add_noise(x, noise, t)
        is_v = self.scheduler.config.prediction_type == "v_prediction"
        target = self.scheduler.get_velocity(x, noise, t) if is_v else noise
        with torch.autocast("cpu", torch.bfloat16):
            found = self.unet(noisy, t, self.text(tokens)[0]).sample
        loss = F.mse_loss(found.float(), target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.both.parameters(), 1.0)
        self.optimizer.step()
        self.mean.update_parameters(self.both)
        return {"loss": float(loss.detach())}


def train_editor(name: str, photos: list[Path], out: Path, steps: int, vae_steps: int) -> None:
    """Write the diffusers folder `out/<name>`."""
    import diffusers
    from diffusers.models.attention_processor import AttnProcessor

    editor = EDITORS[name]
    vae = train_vae(editor.vae, photos, out, vae_steps).eval()
    views = read_views(photos, seed=0)
    with torch.no_grad():
        latents = torch.cat(
            [vae.encode(part.float() / 127.5 - 1).latents for part in torch.split(views, 4)]
        )
    latents = (latents * vae.config.scaling_factor).half()
    seed = derive_seed(0, "editor", name) % 2**31
    torch.manual_seed(seed)
    tokenizer, text = make_text(out / f"words-{name}")
    captions = [caption(view) for view in views]
    tokens = tokenizer([*captions, ""], padding="max_length", return_tensors="pt").input_ids
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=latents.shape[1],
        out_channels=latents.shape[1],
        block_out_channels=editor.widths,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=32,
        norm_num_groups=16,
    ).to(memory_format=torch.channels_last)
    # The fused attention's backward pass takes half of a step on a CPU.
    unet.set_attn_processor(AttnProcessor())
    noise = {"beta_schedule": editor.schedule, "prediction_type": editor.prediction}
    noise |= {} if "cap" in editor.schedule else {"beta_start": 0.00085, "beta_end": 0.012}
    task = DiffusionTask(
        unet, text, diffusers.DDPMScheduler(**noise), latents, tokens[:-1], tokens[-1],
        steps=steps, batch=16, rate=6e-4, seed=seed,
    )  # fmt: skip
    identity = {"editor": name, "steps": steps, "latents": len(latents)}
    points = Checkpoints(path=out / f"{name}.part", every=250, identity=identity)
    run(
        task, steps, label=f"editor {name}", checkpoints=points, after_step=_print(f"editor {name}")
    )
    unet.load_state_dict(task.mean.module["unet"].state_dict())
    text.load_state_dict(task.mean.module["text"].state_dict())
    kind = getattr(diffusers, editor.scheduler)
    noise["steps_offset"] = 1
    noise |= {"clip_sample": False} if kind is diffusers.DDIMScheduler else {}
    diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet.to(memory_format=torch.contiguous_format),
        scheduler=kind(**noise),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(out / name)
    print(json.dumps({"editor": name, "parameters": sum(p.numel() for p in unet.parameters())}))


def make_text(scratch: Path) -> tuple[Any, Any]:
    """A tokenizer that knows `WORDS` whole, and an untrained text encoder of width 64."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces, merges = [*letters, *(f"{letter}</w>" for letter in letters)], []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        for part in parts[1:]:
            merge, joined = f"{parts[0]} {part}", parts[0] + part
            merges += [] if merge in merges else [merge]
            pieces += [] if joined in pieces else [joined]
            parts[0] = joined
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(pieces)}))
    (scratch / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    tokenizer = CLIPTokenizer(
        str(scratch / "vocab.json"), str(scratch / "merges.txt"), model_max_length=TOKENS
    )
    config = CLIPTextConfig(
        vocab_size=len(pieces),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=len(pieces) - 2,
        eos_token_id=len(pieces) - 1,
        pad_token_id=len(pieces) - 1,
    )
    return tokenizer, CLIPTextModel(config)


def _print(label: str) -> Any:
    start = time.monotonic()
    sums: list[float] = []

    def show(index: int, values: dict[str, float]) -> None:
        sums.append(values["loss"])
        if index % 100 == 0:
            mean = sum(sums) / len(sums)
            print(f"{label} {index} {time.monotonic() - start:.0f} s loss {mean:.4f}", flush=True)
            sums.clear()

    return show


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--editor", choices=[*EDITORS], required=True)
    parser.add_argument("--out", type=Path, default=Path("build/editors"))
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--vae-steps", type=int, default=6_000)
    parser.add_argument("--vae-only", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    photos = split_photos(args.data)["editors"]
    if args.vae_only:
        train_vae(EDITORS[args.editor].vae, photos, args.out, args.vae_steps)
    else:
        train_editor(args.editor, photos, args.out, args.steps, args.vae_steps)


if __name__ == "__main__":
    main()
