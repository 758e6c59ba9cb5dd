"""Loads generators by name: `file.py:factory`, TorchScript, torch.export, a diffusers VAE folder.

A user's Python file is imported, that is: it RUNS, with the rights of whoever loads it.  So does
what a torch.export file (.pt2) holds: PyTorch evaluates and may unpickle parts of it.  Only name
files that you trust.  Weight files are data: pickles other than plain tensors are refused.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Self

import torch
from torch import Tensor, nn

from wherefrom.components.autoencoders import ImageAutoencoder, decoded, encoded, load_autoencoder
from wherefrom.core.errors import InputError
from wherefrom.core.rng import derive_seed
from wherefrom.generators.checkpoints.weights import load_weights
from wherefrom.generators.generator import Generator, SampleFunction, wrap_generator
from wherefrom.generators.last_layer.output_map import Range
from wherefrom.generators.readiness import device_hint
from wherefrom.generators.zoo.files import load_zoo

SUFFIXES = {".pt": "torchscript", ".pth": "torchscript", ".ts": "torchscript", ".pt2": "export"}
HAS_WEIGHTS = {
    "torchscript": "a TorchScript file",
    "export": "an exported program",
    "diffusers": "a diffusers folder",
}
FORMS = (
    "expected file.py:factory, a TorchScript file (.pt, .ts), a torch.export file (.pt2) or the "
    "folder of a diffusers VAE"
)


@dataclass(frozen=True)
class Request:
    """The arguments of a loader; `name` is the spec without its scheme."""

    name: str
    weights: Path | None
    latent: tuple[int, ...] | None


@dataclass(frozen=True)
class LoadedModule:
    """What a loader returns: the module, its own way to draw, the latent shape if known."""

    module: nn.Module
    sample: SampleFunction | None = None
    latent: tuple[int, ...] | None = None


Loader = Callable[[Request], LoadedModule]


def load_generator(
    spec: str,
    *,
    weights: Path | str | None = None,
    latent: tuple[int, ...] | None = None,
    value_range: Range | None = None,
) -> Generator:
    """The generator that `spec` names, in evaluation mode, introspected and checked, on the CPU.

    `file.py:factory`  RUNS the file with your rights.  `factory` is a module, or is called without
        arguments and returns a module or a pair (module, sample).  `weights` (.safetensors, or a
        torch file of plain tensors) are put into the module.
    `model.pt`, `model.ts`  TorchScript: its own code runs in PyTorch's interpreter.
    `model.pt2`  torch.export with a dynamic batch size; it RUNS like a Python file.
    `zoo:NAME`  a model shipped with the package; `zoo` with `weights`: one that the zoo trained.
    a folder  a diffusers autoencoder, or a pipeline that has one: the decoder is the generator, its
        latents are drawn from N(0, 1) and decoded as the pipelines do.  `vae.safetensors` with the
        config.json of its diffusers version beside it is the same in one file.

    `latent` and `value_range` as in `wrap_generator`.  Every fault is an `InputError`.
    """
    scheme, _, rest = spec.partition(":")
    name = rest if scheme in LOADERS else spec
    path = None if weights is None else Path(weights)
    kind = _kind(spec)
    if path is not None and kind in HAS_WEIGHTS:
        raise InputError(f"{HAS_WEIGHTS[kind]} carries its own weights; leave {path} out")
    source = LOADERS[kind](Request(name, path, latent))
    return wrap_generator(
        source.module,
        latent=latent if latent is not None else source.latent,
        value_range=value_range,
        sample=source.sample,
    )


def _kind(spec: str) -> str:
    scheme = spec.partition(":")[0]
    if scheme in LOADERS:
        return scheme
    path = Path(spec)
    if spec.endswith(".py") or ".py:" in spec:
        return "python"
    if path.is_dir() or (path.suffix == ".safetensors" and path.is_file()):
        return "diffusers"
    if path.suffix not in SUFFIXES:
        raise InputError(f"generator {spec!r} is not known; {FORMS}")
    if not path.is_file():
        raise InputError(f"the generator file {spec} does not exist")
    return SUFFIXES[path.suffix]


def _load_python(request: Request) -> LoadedModule:
    file, _, factory = request.name.rpartition(":")
    path = Path(file)
    if not file:
        raise InputError(f"{request.name} names no factory; write {request.name}:factory")
    if not path.is_file():
        raise InputError(f"the Python file {path} does not exist")
    with _running_user_code(path):
        product = getattr(_import_file(path), factory, None)
        if product is not None and not isinstance(product, nn.Module):
            product = product()
    module, sample = (
        product if isinstance(product, tuple) and len(product) == 2 else (product, None)
    )
    if product is None:
        raise InputError(f"{path} has no {factory!r}, or it returned None; return the module")
    if not isinstance(module, nn.Module) or not (sample is None or callable(sample)):
        raise InputError(
            f"{path}:{factory} gave {type(product).__name__}, expected a torch.nn.Module or a pair "
            "(module, sample)"
        )
    if request.weights is not None:
        load_weights(module, request.weights)
    return LoadedModule(module, sample)


def _import_file(path: Path) -> ModuleType:
    # A name of its own per path: two files called my.py may be loaded side by side.
    name = f"_wherefrom_user_{derive_seed(0, path.resolve()):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _running_user_code(path: Path) -> Iterator[None]:
    """Let the file import its neighbours; turn whatever it raises into one line."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    except InputError:
        raise
    except SyntaxError as error:
        raise InputError(f"{path} is not valid Python: {error}") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).name == path.name]
        where = f", line {lines[-1]}" if lines else ""
        first = (str(error).splitlines() or [""])[0]
        hint = device_hint(error)
        raise InputError(f"{path}{where} failed: {type(error).__name__}: {first}{hint}") from error
    finally:
        sys.path.remove(folder)


def _load_torchscript(request: Request) -> LoadedModule:
    path = Path(request.name)
    try:
        with warnings.catch_warnings():
            # Files of this kind exist and will go on existing; the user can do nothing about it.
            warnings.filterwarnings("ignore", r"`torch\.jit\.load` is", DeprecationWarning)
            module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"{path} is not a TorchScript file; if it holds a state dict, pass file.py:factory as "
            f"the generator and {path} as its weights"
        ) from error
    return LoadedModule(module)


class _Exported(nn.Module):
    """An exported program, which is in evaluation mode if it was exported so."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program
        for part in self.modules():
            part.training = False

    def train(self, mode: bool = True) -> Self:
        """Keeps the mode it was exported in."""
        if mode:
            raise InputError("an exported program cannot be trained")
        return self

    def forward(self, z: Tensor) -> Tensor:
        """(N, *latent) -> (N, C, H, W)."""
        out: Tensor = self.program(z)
        return out


def _load_export(request: Request) -> LoadedModule:
    path = Path(request.name)
    try:
        program = torch.export.load(path)
        module = program.module()
    except Exception as error:  # the reader raises anything on a damaged file
        first = (str(error).splitlines() or [""])[0]
        raise InputError(f"{path} is not a readable torch.export file: {first}") from error
    names = program.graph_signature.user_inputs
    inputs = [node.meta["val"] for node in program.graph.nodes if node.name in names]
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
        raise InputError(f"{path} takes {len(inputs)} inputs; export a module of the latent alone")
    batch, *latent = inputs[0].shape
    if isinstance(batch, int):
        raise InputError(
            f"{path} was exported for exactly {batch} images at once; export it with "
            'dynamic_shapes=({0: torch.export.Dim("batch")},)'
        )
    known = tuple(latent) if all(isinstance(size, int) for size in latent) else None
    return LoadedModule(_Exported(module), latent=known)


class _DiffusersDecoder(nn.Module):
    """The decoder half of a VAE, from latents of unit variance to images in [0, 1]."""

    def __init__(self, autoencoder: ImageAutoencoder) -> None:
        super().__init__()
        self.vae, self.scale, self.form = autoencoder.vae, autoencoder.scale, autoencoder.form
        for name, part in self.vae.named_modules():
            if name.endswith("conv_shortcut"):
                # diffusers does this in training only, and the last digits depend on it: a model
                # that was just trained and the same one loaded again make the same images.
                part.register_forward_pre_hook(_contiguous)

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent_channels, h, w) -> (N, C, H, W) in [0, 1], as the pipelines decode."""
        return decoded(self.vae, self.scale.restored(z), self.form)

    def reconstruct(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] encoded to the mean latent and decoded, in the same range."""
        return decoded(self.vae, encoded(self.vae, images, self.form), self.form)


def _contiguous(_part: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


def _load_diffusers(request: Request) -> LoadedModule:
    autoencoder = load_autoencoder(Path(request.name), purpose="loading a diffusers VAE")
    latent = request.latent or autoencoder.latent_shape()
    return LoadedModule(_DiffusersDecoder(autoencoder), latent=latent)


LOADERS: dict[str, Loader] = {
    "zoo": lambda request: LoadedModule(load_zoo(request.name, request.weights)),
    "python": _load_python,
    "torchscript": _load_torchscript,
    "export": _load_export,
    "diffusers": _load_diffusers,
}
