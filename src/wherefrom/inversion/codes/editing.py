"""Editing: along AEDLSGAN's fixed directions, or along one found from two small sets of images.

Cho: PhD thesis, Concordia University, 2025, Section 4.2.3.  Few-shot directions are not in the
thesis: codes are standardised by mu and v, where generated images are N(0, I), and the direction is
that of a linear discriminant whose covariance is shrunk towards I.  Directions of other attributes
that shall stay are projected out, and what still moves of them is measured.

Symbols:
    y    standardised code, (z' - mu) / sqrt v, (N, d_z); dead dimensions of v are left out
    u    direction in y, unit length, (d_z,)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.data.images.writing import image_grid, to_uint8
from wherefrom.inversion.codes.latent_report import report_latents
from wherefrom.inversion.equations import attribute_direction, edited
from wherefrom.inversion.model import FittedInverter

MIN_EXAMPLES = 2
PARALLEL = 1e-3  # what must be left of a direction once others are projected out


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction u in the standardised code; score(x) = y . u is -1 and 1 at the two means."""

    vector: Tensor  # (d_z,) u
    middle: float  # y . u between the means of the two sets
    half: float  # half their distance
    overlap: Mapping[str, float] = field(default_factory=dict)  # |cos| with what was projected out

    def score(self, y: Tensor) -> Tensor:
        """(N, d_z) standardised -> (N,): -1 at the mean without, 1 at the mean with."""
        return (y @ self.vector - self.middle) / self.half


@dataclass(frozen=True, eq=False)
class Edit:
    """One image moved in steps.  Leakage: change of another score per change of the wanted one."""

    image: Tensor  # (C, S, S), as it was given
    positions: tuple[float, ...]
    images: Tensor  # (steps, C, S, S), float32 in [0, 1]
    recovered: Tensor  # (C, S, S), the image as it comes back without an edit
    reached: tuple[float, ...]  # scores of the edited images, encoded again
    leakage: Mapping[str, float]

    def strip(self) -> Tensor:
        """The image, what comes back of it, then every edit in a row: uint8 (C, S, W)."""
        shown = torch.cat([self.image[None].cpu(), self.recovered[None].cpu(), self.images.cpu()])
        return image_grid(to_uint8(shown), len(shown))

    def to_dict(self) -> dict[str, Any]:
        return {
            "positions": list(self.positions),
            "reached": list(self.reached),
            "leakage": dict(self.leakage),
        }


def edit(
    fitted: FittedInverter,
    image: Tensor,
    *,
    attribute: str | None = None,
    between: tuple[Tensor, Tensor] | None = None,
    keep: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    steps: int = 9,
) -> Edit:
    """Move one property of an image (C, S, S), in `steps` from "has it not" to "has it".

    The property is an `attribute` that an AEDLSGAN was trained with, by name or number, or the
    difference `between` images with it and images without it, (N, C, S, S) each.  `keep`: such
    pairs, by name, of properties that shall stay as they are.
    """
    if attribute is not None and (between is not None or keep):
        raise InputError("both an attribute and examples are given; give one of them")
    if attribute is not None:
        label, wanted = fitted.find_attribute(attribute)
        return edit_attribute(fitted, image, label=label, wanted=wanted, steps=steps)
    if between is None:
        raise InputError(
            "nothing says what to edit; give an attribute, or examples with and without"
        )
    others = {name: find_direction(fitted, *sides) for name, sides in (keep or {}).items()}
    direction = find_direction(fitted, *between, keep=others)
    return edit_along(fitted, image, direction, steps=steps, keep=others)


def edit_attribute(
    fitted: FittedInverter, image: Tensor, *, label: int = 0, wanted: int = 1, steps: int = 9
) -> Edit:
    """An image (C, S, S) with AEDLSGAN's score ((z' o s) . w) / sqrt d_z from -1 to 1.

    Deviation: the leakage of the edited image into the other labels is measured.
    """
    w = fitted.directions
    if not w.numel():
        raise InputError(
            f"{fitted.config.method} was trained without attributes; train aedlsgan, or give two "
            "folders of examples"
        )
    if not (0 <= label < w.shape[1] and 0 <= wanted < w.shape[2]):
        raise InputError(
            f"attribute {label}, class {wanted}; this model has {w.shape[1]} attributes of "
            f"{w.shape[2]} classes"
        )
    positions = _positions(steps)
    code = fitted.encode(image[None])
    direction = attribute_direction(w, label, wanted)
    codes = torch.cat([edited(code, fitted.scale, direction, t) for t in positions])
    images = fitted.decode(codes)
    again = fitted.encode(images) * fitted.scale
    root = fitted.config.latent**0.5
    others = {
        f"attribute {k}": again @ attribute_direction(w, k, wanted) / root
        for k in range(w.shape[1])
        if k != label
    }
    reached = again @ direction / root
    return Edit(
        image,
        positions,
        images,
        fitted.decode(code)[0],
        tuple(reached.tolist()),
        {name: _leak(scores, reached) for name, scores in others.items()},
    )


def find_direction(
    fitted: FittedInverter,
    examples: Tensor,
    counterexamples: Tensor,
    *,
    keep: Mapping[str, Direction] | None = None,
) -> Direction:
    """The direction from images without to images with a property, (N, C, S, S) each.

    `keep`: directions that an edit shall leave alone; they are projected out.
    """
    for images, what in ((examples, "examples"), (counterexamples, "counterexamples")):
        if len(images) < MIN_EXAMPLES:
            raise InputError(f"{len(images)} {what}; give at least {MIN_EXAMPLES}")
    live = _live(fitted)
    y_1, y_0 = (
        standardised(fitted, fitted.encode(x))[:, live] for x in (examples, counterexamples)
    )
    difference = y_1.mean(dim=0) - y_0.mean(dim=0)
    inside = torch.cat([y_1 - y_1.mean(dim=0), y_0 - y_0.mean(dim=0)])
    count, size = len(inside), len(live)
    identity = torch.eye(size, dtype=inside.dtype, device=inside.device)
    own = count / (count + size)  # the share of the measured covariance grows with the examples
    spread = own * inside.T @ inside / (count - 2) + (1 - own) * identity
    u = y_1.new_zeros(fitted.config.latent)
    u[live] = torch.linalg.solve(spread, difference)
    u, overlap = _projected(u / u.norm(), keep or {})
    ends = [(y @ u[live]).mean() for y in (y_0, y_1)]
    half = float(ends[1] - ends[0]) / 2
    if half <= 0:
        raise InputError(
            "the two folders do not differ along what is left of their direction; give more "
            "examples, or keep less"
        )
    return Direction(u, float(ends[0] + ends[1]) / 2, half, overlap)


def edit_along(
    fitted: FittedInverter,
    image: Tensor,
    direction: Direction,
    *,
    steps: int = 9,
    keep: Mapping[str, Direction] | None = None,
) -> Edit:
    """An image (C, S, S) with its score along the direction from -1 (without) to 1 (with)."""
    positions = _positions(steps)
    code = fitted.encode(image[None])
    y = standardised(fitted, code)
    targets = torch.tensor(positions, dtype=y.dtype, device=y.device)
    moves = (targets - direction.score(y)) * direction.half
    moved = y + torch.outer(moves, direction.vector)
    label = fitted.likeliest(image[None])
    images = fitted.decode(
        _unstandardised(fitted, moved, code), None if label is None else label.expand(steps, -1)
    )
    again = standardised(fitted, fitted.encode(images))
    reached = direction.score(again)
    leakage = {name: _leak(d.score(again), reached) for name, d in (keep or {}).items()}
    recovered = fitted.decode(code, label)[0]
    return Edit(image, positions, images, recovered, tuple(reached.tolist()), leakage)


def standardised(fitted: FittedInverter, codes: Tensor) -> Tensor:
    """y = (z' - mu) / sqrt v, (N, d_z) float64; 0 where v is 0."""
    deviation = fitted.trace.double().sqrt()
    y = (codes.double() - fitted.mean.double()) / deviation
    return torch.where(deviation > 0, y, torch.zeros_like(y))


def _unstandardised(fitted: FittedInverter, y: Tensor, code: Tensor) -> Tensor:
    deviation = fitted.trace.double().sqrt()
    z = fitted.mean.double() + y * deviation
    return torch.where(deviation > 0, z, code.double()).float()


def _live(fitted: FittedInverter) -> list[int]:
    report = report_latents(fitted)
    return [d for d, v in zip(report.order, report.spectrum, strict=True) if v > 0][: report.live]


def _projected(u: Tensor, keep: Mapping[str, Direction]) -> tuple[Tensor, dict[str, float]]:
    """u without the span of the directions to keep, unit length; |cos| with each before."""
    if not keep:
        return u, {}
    others = torch.stack([d.vector for d in keep.values()])
    overlap = {name: float((u @ d.vector).abs()) for name, d in keep.items()}
    basis = torch.linalg.qr(others.T).Q
    rest = u - basis @ (basis.T @ u)
    if float(rest.norm()) < PARALLEL:
        raise InputError(
            f"the direction is one of those to keep ({', '.join(keep)}); keep fewer, or give "
            "examples that differ in nothing else"
        )
    return rest / rest.norm(), overlap


def _positions(steps: int) -> tuple[float, ...]:
    if steps < 2:
        raise InputError(f"{steps} steps; give at least 2")
    return tuple(torch.linspace(-1, 1, steps, dtype=torch.float64).tolist())


def _leak(other: Tensor, wanted: Tensor) -> float:
    """|change of another score| / |change of the wanted one| between the ends of an edit."""
    moved = float((wanted[-1] - wanted[0]).abs())
    leaked = float((other[-1] - other[0]).abs())
    return leaked / moved if moved else float("inf")
