"""How fast is final-layer inversion, and how close does it come?

    python benchmarks/inversion.py --weights weights.tar --out docs/results/inversion.json

The layer is the last one of a trained DCGAN (examples/face_dcgan.py): 64 channels, 4x4, stride 2,
to 64x64x3.  All solvers get the same images in the same run, in turns; ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wherefrom import __version__
from wherefrom.attribution.equations import duality_gap, shifted_objective, soft_threshold
from wherefrom.attribution.final_layer.config import LassoConfig
from wherefrom.attribution.final_layer.lasso import Inversion, Inverter
from wherefrom.attribution.final_layer.operator import squared_norm
from wherefrom.attribution.methods.flipad import mean_activation
from wherefrom.data.images.writing import to_float, to_uint8
from wherefrom.generators.generator import Generator
from wherefrom.generators.last_layer.layer import LastLayer
from wherefrom.generators.loading import load_generator

FACE = Path(__file__).parents[1] / "examples" / "face_dcgan.py"
OFFICIAL_STEP, OFFICIAL_ITERATIONS = 0.025, 10_000
ADMM_ITERATIONS = 2_000


def plain_fista(
    layer: LastLayer, target: Tensor, lam: float, *, step: float, iterations: int, start: Tensor
) -> Tensor:
    """FISTA without restart at a constant step: the official loop, written from its facts."""
    z, y, t = start.clone(), start.clone(), 1.0
    for _ in range(iterations):
        gradient = layer.adjoint(layer.linear(y) - target)
        new = soft_threshold(y - step * gradient, step * lam / 2)
        t_next = (1 + (1 + 4 * t * t) ** 0.5) / 2
        y = new + (t - 1) / t_next * (new - z)
        z, t = new, t_next
    return z


def primal_values(layer: LastLayer, z: Tensor, target: Tensor, lam: float) -> Tensor:
    """Eq. 8 per image in float64, for z' and o'."""
    z = z.double()
    return shifted_objective(z, layer.to(dtype=torch.float64).linear(z) - target.double(), lam)


def own_gap(layer: LastLayer, z: Tensor, target: Tensor, lam: float) -> float:
    """Largest relative duality gap of the batch that the residual of z' proves, in float64."""
    wide = layer.to(dtype=torch.float64)
    z, target = z.double(), target.double()
    r = wide.linear(z) - target
    primal, gap = duality_gap(z, r, target, wide.adjoint(r), lam)
    return float((gap / primal).max())


def distance(values: Tensor, bound: Tensor) -> float:
    """How far the worst image is from the optimum, relative: at most this."""
    return float(((values - bound) / values).max())


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


class Case:
    """One layer with shifted targets of real outputs of its generator."""

    def __init__(self, generator: Generator, count: int) -> None:
        self.layer = generator.last_layer
        self.z_bar = mean_activation(generator, 512, 0)
        images = to_float(to_uint8(generator.sample(count, 1)))
        self.o = generator.output_map.inverse(images)
        self.shifted = self.o - self.layer.apply(self.z_bar[None])

    def ours(self, config: LassoConfig, count: int) -> tuple[float, Inversion]:
        """Seconds per image, and the result."""
        inverter = Inverter(self.layer, self.z_bar, config)
        seconds, result = timed(lambda: inverter.invert(self.o[:count]))
        return seconds / count, result


def against_loops(case: Case, lam: float, repeats: int, images: int) -> list[dict[str, Any]]:
    """Seconds and distance to the optimum of every solver, on the same images in turns.

    The optimum lies above the best dual value that any run of ours proved, so that all solvers are
    judged by what they minimise and none by how well it proves itself.
    """
    norm2, part = squared_norm(case.layer), case.shifted[:images]
    rows: list[dict[str, Any]] = []
    values: list[Tensor] = []
    bound = torch.full((images,), -torch.inf, dtype=torch.float64)
    for _ in range(repeats):
        for name, step, start in (
            ("official loop", OFFICIAL_STEP, case.z_bar.expand(images, -1, -1, -1)),
            ("FISTA at 1/L", 1 / norm2, torch.zeros(images, *case.z_bar.shape)),
        ):
            seconds, z = timed(
                lambda step=step, start=start: plain_fista(
                    case.layer, part, lam, step=step, iterations=OFFICIAL_ITERATIONS, start=start
                )
            )
            gap = own_gap(case.layer, z, part, lam)
            rows.append(_row(name, None, seconds / images, OFFICIAL_ITERATIONS, gap))
            values.append(primal_values(case.layer, z, part, lam))
        for name, changes in OURS.items():
            count = 1 if "alone" in name else images
            seconds, result = case.ours(LassoConfig(lam=lam, **changes), count)
            target = changes["gap"] if changes.get("solver") == "admm" else None
            iterations = float(result.iterations.double().mean())
            gap = float(result.relative_gap.max())
            rows.append(_row(name, target, seconds, iterations, gap))
            z = result.activations - case.z_bar
            values.append(primal_values(case.layer, z, part[:count], lam))
            bound[:count] = torch.maximum(bound[:count], result.objective - result.gap)
    for row, value in zip(rows, values, strict=True):
        row["distance"] = distance(value, bound[: len(value)])
    return rows


OURS: dict[str, dict[str, Any]] = {
    "ours: FISTA, restarted": {"iterations": 2_000},
    **{
        f"ours: ADMM to {gap:g}": {
            "effort": "exact",
            "solver": "admm",
            "gap": gap,
            "max_iterations": ADMM_ITERATIONS,
        }
        for gap in (0.2, 0.05, 1e-2, 1e-3, 1e-4)
    },
    "ours: ADMM to 0.05, one image alone": {"effort": "exact", "solver": "admm", "gap": 0.05},
}


def _row(
    solver: str, target: float | None, seconds: float, iterations: float, gap: float
) -> dict[str, Any]:
    return {
        "solver": solver,
        "target": target,
        "seconds_per_image": seconds,
        "iterations": iterations,
        "certified_gap": gap,
    }


def small_layer(layer: LastLayer, channels: int, side: int) -> LastLayer:
    """The first channels of the trained layer on a smaller map: a size that others can finish."""
    weight = layer.weight[:channels].contiguous()
    out = layer.output_shape[0]
    return replace(
        layer,
        weight=weight,
        input_shape=(channels, side, side),
        output_shape=(out, 2 * side, 2 * side),
    )


def dense_matrix(layer: LastLayer) -> np.ndarray:
    """The layer as a float64 matrix (D_out, D_in), Fortran order as the solvers want it."""
    size = int(np.prod(layer.input_shape))
    wide = layer.to(dtype=torch.float64)
    eye = torch.eye(size, dtype=torch.float64).reshape(-1, *layer.input_shape)
    columns = torch.cat([wide.linear(part).flatten(1) for part in eye.split(256)])
    return np.asfortranarray(columns.numpy().T)


def against_libraries(case: Case, lam: float, repeats: int, side: int) -> list[dict[str, Any]]:
    """celer and scikit-learn on the small layer, each to its own default tolerance."""
    from celer import Lasso as CelerLasso
    from sklearn.linear_model import Lasso

    layer = small_layer(case.layer, 16, side)
    crop = case.shifted[:, :, 16 : 16 + 2 * side, 16 : 16 + 2 * side].contiguous()
    matrix = dense_matrix(layer)
    alpha = lam / 2 / matrix.shape[0]
    rows: list[dict[str, Any]] = []
    z_bar = case.z_bar[:16, 8 : 8 + side, 8 : 8 + side].contiguous()

    def ours(o: Tensor, gap: float) -> tuple[float, Inversion]:
        config = LassoConfig(lam=lam, effort="exact", gap=gap, max_iterations=50_000)
        inverter = Inverter(layer, z_bar, config)
        return timed(partial(inverter.invert, o))

    # celer compiles on its first call: not on the clock.
    CelerLasso(alpha=1.0, fit_intercept=False).fit(matrix[:64, :64], np.ones(64))
    for turn in range(repeats):
        target = crop[turn : turn + 1]
        o = target + layer.apply(z_bar[None])
        proof = ours(o, 1e-5)[1]
        bound = proof.objective - proof.gap
        y = target.double().numpy().ravel()
        solvers = {
            "celer": CelerLasso(alpha=alpha, fit_intercept=False, tol=1e-4, max_iter=50),
            "scikit-learn": Lasso(alpha=alpha, fit_intercept=False, tol=1e-4, max_iter=300),
        }
        for name, solver in solvers.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seconds, fitted = timed(partial(solver.fit, matrix, y))
            z = torch.from_numpy(fitted.coef_).reshape(1, *layer.input_shape)
            theirs = distance(primal_values(layer, z, target, lam), bound)
            seconds_ours, result = ours(o, max(theirs, 1e-5))
            z = result.activations - z_bar
            mine = distance(primal_values(layer, z, target, lam), bound)
            for who, spent, reached in (
                (name, seconds, theirs),
                (f"ours, as close as {name}", seconds_ours, mine),
            ):
                rows.append({"solver": who, "seconds_per_image": spent, "distance": reached})
    return rows


def cost(case: Case, lam: float, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """The fast effort against batch, chunk and image size; and its parts."""
    config = LassoConfig(lam=lam)
    batches = []
    for _ in range(repeats):
        for count in (1, 8, 64):
            seconds, _ = case.ours(config, count)
            batches.append({"images": count, "images_per_second": 1 / seconds})
    sizes = []
    for side in (8, 16, 32, 64):
        layer = small_layer(case.layer, 64, side)
        o = torch.randn(16, *layer.output_shape, generator=torch.Generator().manual_seed(0))
        inverter = Inverter(layer, torch.zeros(layer.input_shape), config)
        seconds = min(timed(lambda i=inverter, o=o: i.invert(o))[0] for _ in range(repeats))
        sizes.append({"pixels": 2 * side, "milliseconds_per_image": 1e3 * seconds / 16})
    return {"batch": batches, "size": sizes, "parts": parts_of_an_iteration(case, repeats)}


def parts_of_an_iteration(case: Case, repeats: int) -> list[dict[str, Any]]:
    """Where an iteration's time goes, milliseconds per image at the default chunk."""
    from wherefrom.attribution.final_layer.operator import FastOperator

    operator = FastOperator.of(case.layer)
    count = LassoConfig().chunk
    y = torch.randn(count, *case.layer.input_shape)
    r = operator.linear(y)
    work: dict[str, Callable[[], Any]] = {
        "G_L (sub-pixel form)": lambda: operator.linear(y),
        "G_L^T (sub-pixel form)": lambda: operator.adjoint(r),
        "G_L (transposed convolution)": lambda: case.layer.linear(y),
        "shrink, momentum, restart": lambda: elementwise(y),
    }
    rows = []
    for name, call in work.items():
        call()
        best = min(timed(lambda call=call: [call() for _ in range(10)])[0] for _ in range(repeats))
        rows.append({"part": name, "milliseconds_per_image": best / 10 / count * 1e3})
    return rows


def elementwise(y: Tensor) -> Tensor:
    """The passes over z of one iteration, without the two operators."""
    new = soft_threshold(torch.add(y, y, alpha=-0.3), 1e-4)
    change = new - y
    ((y - new) * change).sum(dim=(1, 2, 3))
    return torch.addcmul(new, change, y[:, :1, :1, :1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="gan-face-generate weights.tar")
    parser.add_argument("--out", type=Path, default=Path("docs/results/inversion.json"))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--images", type=int, default=8, help="images for the loops")
    parser.add_argument("--side", type=int, default=12, help="activation side for the libraries")
    parser.add_argument("--lam", type=float, default=1e-3, help="paper's Eq. 5; 1e-3 = its code's")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    case = Case(load_generator(f"{FACE}:G", weights=args.weights), 64)
    found: dict[str, Any] = {
        "command": "python benchmarks/inversion.py --weights weights.tar",
        "wherefrom": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "lam": args.lam,
        "repeats": args.repeats,
        "squared_norm": squared_norm(case.layer),
        "cost": cost(case, args.lam, args.repeats),
    }
    found["loops"] = against_loops(case, args.lam, args.repeats, args.images)
    found["libraries"] = against_libraries(case, args.lam, 1, args.side)
    for key in ("loops", "libraries"):
        for solver in sorted({row["solver"] for row in found[key]}):
            mine = [r for r in found[key] if r["solver"] == solver]
            print(key, solver, statistics.median(r["seconds_per_image"] for r in mine), "s/image")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
