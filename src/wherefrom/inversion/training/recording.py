"""Records a run: checkpoint, model so far, table of losses, sample grids, TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.saving.artifact import Artifact
from wherefrom.core.saving.store import write_file
from wherefrom.data.images.writing import image_grid, save_png, to_uint8
from wherefrom.inversion.equations import latent_entropy
from wherefrom.inversion.model import FITTED, FittedInverter

GRID_ROWS = 8
ENTROPY_FLOOR = 1e-12  # a dead latent's scale, so that the entropy stays a number


@dataclass
class Recorder:
    """The folder of a run.  A run that continues drops the rows that it will write again."""

    path: Path
    checkpoint_every: int = 500
    sample_every: int = 1000
    log_every: int = 50
    tensorboard: bool = False
    beside: Mapping[str, Artifact] = field(default_factory=dict)  # saved after the first step
    _rows: list[dict[str, str]] = field(default_factory=list)
    _waiting: list[dict[str, float]] = field(default_factory=list)
    _events: Any = None
    _started: bool = False
    _is_new: bool = False

    @property
    def checkpoint(self) -> Path:
        """Where the loop keeps its state."""
        return self.path / "checkpoint"

    @property
    def metrics(self) -> Path:
        """The table of losses, means over `log_every` steps."""
        return self.path / "metrics.csv"

    def prepare(self) -> None:
        """Make the folder; an `InputError` if it cannot be made, or if TensorBoard is missing."""
        try:
            self._is_new = self._is_new or not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot use {self.path} as a folder: {error.strerror}") from error
        if self.tensorboard:
            _event_writer()

    def remove_empty(self) -> None:
        """Remove the folder if `prepare` made it and nothing was written: training was refused."""
        if self._is_new and not any(self.path.iterdir()):
            self.path.rmdir()

    def add(
        self,
        index: int,
        values: dict[str, float],
        snapshot: Callable[[], FittedInverter],
        *,
        last: bool,
    ) -> None:
        """Take the losses of step `index`, and write what is due."""
        if not self._started:
            self._start(index)
        self._waiting.append(values)
        done = index + 1
        if done % self.log_every == 0 or last:
            self._log(done, snapshot())
        if done % self.checkpoint_every == 0 or last:
            self._write()
            if not last:
                self._keep(done, snapshot())
        if done % self.sample_every == 0 or last:
            fitted = snapshot()
            if fitted.networks.generator is not None and len(fitted.shape) == 3:
                save_png(sample_grid(fitted), self.path / f"samples-{done:07d}.png")
        if last and self._events is not None:
            self._events.close()

    def _start(self, index: int) -> None:
        self._started = True
        for name, value in self.beside.items():
            value.save(self.path / name, overwrite=True)
        if self.metrics.exists():
            with self.metrics.open(newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) <= index]
        if self.tensorboard:
            self._events = _event_writer()(str(self.path), purge_step=index + 1)

    def _keep(self, done: int, fitted: FittedInverter) -> None:
        """Save the model as it is, with the traced v, so that a stopped run can be used."""
        progress = {"step": done, "steps": fitted.config.steps}
        stopped = replace(fitted, provenance={**fitted.provenance, **progress})
        stopped.save(self.path / FITTED, overwrite=True)

    def _log(self, done: int, fitted: FittedInverter) -> None:
        row = {"step": str(done)}
        for name in self._waiting[0]:
            mean = sum(values[name] for values in self._waiting) / len(self._waiting)
            row[name] = f"{mean:.6g}"
        self._waiting = []
        scale = fitted.scale.double().clamp_min(ENTROPY_FLOOR)
        row["entropy"] = f"{float(latent_entropy(scale, fitted.config.latents)):.6g}"
        row["live"] = str(int((fitted.trace > 0.5).sum()))
        self._rows.append(row)
        if self._events is not None:
            for name, text in row.items():
                if name != "step":
                    self._events.add_scalar(name, float(text), done)

    def _write(self) -> None:
        if not self._rows:
            return
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        try:
            write_file(self.metrics, text.getvalue().encode())
        except OSError as error:
            raise InputError(f"cannot write {self.metrics}: {error.strerror}") from error


def sample_grid(fitted: FittedInverter, *, seed: int = 0) -> Tensor:
    """The same latents at every call, uint8 (C, H, W); a column per class where there are any."""
    generator = fitted.networks.generator
    if generator is None or generator.classes == 1:
        return image_grid(to_uint8(fitted.sample(GRID_ROWS**2, seed=seed)).cpu(), GRID_ROWS)
    columns = generator.classes
    images = [
        fitted.sample(GRID_ROWS, seed=seed, label=(k,) * generator.labels) for k in range(columns)
    ]
    rows = torch.stack(images, dim=1).flatten(0, 1)
    return image_grid(to_uint8(rows).cpu(), columns)


def _event_writer() -> Any:
    module = need(
        "torch.utils.tensorboard",
        "a TensorBoard event file",
        extra="inversion",
        called="tensorboard",
    )
    return module.SummaryWriter
