"""How fast is the exact search of the index, against FAISS's exact search of the same vectors?

    python benchmarks/origin_search.py --encoder vae/ --photos photos/ \\
        --out docs/results/origin_search.json

Unit vectors with a decaying spectrum: coordinate i of D is Gaussian with variance 1/i, which leaves
35 effective dimensions of 512; a query is a stored vector with as much noise of the
same kind as it is long, so that its cosine to its origin is about 0.7.  FAISS gets the vectors that
the index has stored, as float32.  The engines take turns, in one process with as many threads.

FAISS flat runs twice: as it is, where a batch of up to 249 queries of 512 numbers is not multiplied
as matrices since 1.14.2, and with that threshold lowered.  Try it small: --rows 20000.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wherefrom import __version__
from wherefrom.origin.index.index import Index

K = 10
CHUNK = 20_000
IDENTITY = {"encoder": "random vectors of a decaying spectrum"}
GROWTH_BATCHES = (1, 64)
TIE = 1e-6  # float32 scores of unit vectors are not told apart below
PIXELS_FROM = 64  # images of the encoder's own throughput, at a time: the index's own chunk


def draw(count: int, dim: int, seed: int) -> Tensor:
    """(count, dim) float32 of unit norm; the variance of coordinate i is 1 / i."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, dim + 1).float().rsqrt()
    drawn = torch.randn(count, dim, generator=generator) * scale
    return torch.nn.functional.normalize(drawn)


def queries_of(index: Index, count: int, seed: int) -> Tensor:
    """Stored vectors, each with noise of its own length."""
    generator = torch.Generator().manual_seed(seed)
    ids = 1 + torch.randint(index.count(), (count,), generator=generator)
    return index.vectors(ids.tolist()) + draw(count, index.dim, seed + 1)


def grow(index: Index, rows: int) -> float:
    """Add vectors until there are `rows`; seconds spent in the index."""
    spent = 0.0
    while (there := index.count()) < rows:
        size = min(CHUNK, rows - there)
        names = [f"/{n}" for n in range(there, there + size)]
        digests = [f"sha256:{n:064x}" for n in range(there, there + size)]
        vectors = draw(size, index.dim, seed=there)
        start = time.perf_counter()
        index.add(names, digests, vectors)
        spent += time.perf_counter() - start
    return spent


class Flat:
    """FAISS's exact index of the vectors that an `Index` stores."""

    def __init__(self, dim: int, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        self.faiss, self.flat = faiss, faiss.IndexFlatIP(dim)
        self.usual: int = faiss.cvar.distance_compute_blas_threshold

    def follow(self, index: Index) -> None:
        """Add what the index has and this has not."""
        for first in range(self.flat.ntotal, index.count(), CHUNK):
            last = min(first + CHUNK, index.count())
            self.flat.add(index.vectors(range(first + 1, last + 1)).numpy())

    def search(self, queries: Tensor, *, threshold: int) -> tuple[Any, Any]:
        """Scores and ids, with FAISS's limit for matrix products set to `threshold`."""
        self.faiss.cvar.distance_compute_blas_threshold = threshold
        try:
            unit = torch.nn.functional.normalize(queries).numpy()
            scores, places = self.flat.search(unit, K)
        finally:
            self.faiss.cvar.distance_compute_blas_threshold = self.usual
        return scores, places + 1


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of one run, on the clock and of all cores together."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def compare(index: Index, flat: Flat, batch: int, repeats: int) -> dict[str, Any]:
    """The engines in turns on one batch: every run's seconds."""
    queries = queries_of(index, batch, seed=batch)
    engines: dict[str, Callable[[], object]] = {
        "index": lambda: index.search(queries, K),
        "faiss, lowered": lambda: flat.search(queries, threshold=1),
        "faiss, default": lambda: flat.search(queries, threshold=flat.usual),
    }
    for work in engines.values():
        work()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    for _ in range(repeats):
        for name, work in engines.items():
            runs[name].append(timed(work))
    return {"batch": batch, "rows": index.count(), "runs": runs, **agreement(index, flat, queries)}


def agreement(index: Index, flat: Flat, queries: Tensor) -> dict[str, Any]:
    """How many queries have the same ten ids, in order; and of the others, how far scores differ.

    Near ties come in another order in float32, so ids may differ where scores do not.
    """
    found = index.search(queries, K)
    scores, ids = flat.search(queries, threshold=1)
    same = (found.ids.numpy() == ids).all(1)
    furthest = float(np.abs(found.scores.numpy() - scores).max())
    ties = int((~same & (np.abs(found.scores.numpy() - scores).max(1) <= TIE)).sum())
    return {
        "same": int(same.sum()),
        "same_up_to_ties": int(same.sum()) + ties,
        "furthest": furthest,
    }


def memory(path: Path, dim: int, batch: int, threads: int) -> dict[str, float]:
    """Peak memory of a fresh process that opens the index and searches, beyond its imports."""
    command = [sys.executable, __file__, "--memory-of", str(path), "--dim", str(dim)]
    command += ["--batches", str(batch), "--threads", str(threads)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def measure_memory(path: Path, dim: int, batch: int) -> dict[str, float]:
    """What `memory` runs.  ru_maxrss is in KiB on Linux and includes mapped pages."""
    draw(batch, dim, 0) @ draw(dim, dim, 0).T
    # A process inherits its parent's mark in ru_maxrss, so the kernel's own mark is reset.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    start = time.perf_counter()
    with Index.open(path) as index:
        opened = time.perf_counter() - start
        index.search(draw(1, dim, 1), K)
        first = time.perf_counter() - start
        index.search(draw(batch, dim, 1), K)
        size = index.count() * dim * 2
    return {
        "batch": batch,
        "bytes": size,
        "imports": before,
        "peak": peak(),
        "ratio": (peak() - before) / size,
        "whole_process": peak() / size,
        "open": opened,
        "open_and_first_search": first,
    }


def peak() -> float:
    """The most bytes that this process has held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024.0 * int(line.split()[1])
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def build_rate(folder: Path, encoder: str, photos: Path, repeats: int) -> dict[str, Any]:
    """Images per second of the encoder alone, and of a whole build with the same photographs."""
    from wherefrom.data.folders import list_images
    from wherefrom.data.images.items import read_image
    from wherefrom.data.images.writing import to_float
    from wherefrom.encoders import load_encoder, prepare
    from wherefrom.origin import References

    loaded, files = load_encoder(encoder), list_images([photos])
    some = [prepare(to_float(read_image(p, channels=3).pixels[None])) for p in files[:PIXELS_FROM]]
    images = torch.cat(some)
    runs: dict[str, list[float]] = {"encoder": [], "build": []}
    loaded.embed(images)
    for number in range(repeats):
        seconds = timed(lambda: loaded.embed(images))["wall"]
        runs["encoder"].append(len(images) / seconds)
        target = folder / f"build-{number}.index"
        with References.create(target, loaded, source=encoder) as references:
            seconds = timed(lambda: references.add(files))["wall"]
            runs["build"].append(references.index.count() / seconds)
    share = statistics.median(runs["build"]) / statistics.median(runs["encoder"])
    return {"files": len(files), "dim": loaded.dimension, "share": share, "images_per_second": runs}


def plot(found: dict[str, Any], path: Path) -> None:
    """Milliseconds per query against the number of vectors, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    styles = {"index": "-", "faiss, lowered": "--"}
    for batch, colour in zip(GROWTH_BATCHES, ("#1f5fa8", "#d9822b"), strict=True):
        rows = [row for row in found["growth"] if row["batch"] == batch]
        for engine, style in styles.items():
            y = [1e3 * seconds(row, engine) / batch for row in rows]
            label = f"{engine}, batch {batch}"
            axes.loglog(
                [row["rows"] for row in rows], y, style, marker="o", color=colour, label=label
            )
    axes.set(xlabel="vectors", ylabel="ms per query")
    axes.grid(alpha=0.3)
    axes.legend()
    with mpl.rc_context({"svg.hashsalt": "origin"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def seconds(row: dict[str, Any], engine: str) -> float:
    """Median seconds on the clock of an engine's runs."""
    return statistics.median(run["wall"] for run in row["runs"][engine])


def show(row: dict[str, Any]) -> None:
    times = {engine: seconds(row, engine) for engine in row["runs"]}
    line = ", ".join(f"{name} {1e3 * value:.0f} ms" for name, value in times.items())
    ratios = [times[name] / times["index"] for name in ("faiss, default", "faiss, lowered")]
    print(
        f"{row['rows']} rows, batch {row['batch']}: {line}; {ratios[0]:.2f}x default, "
        f"{ratios[1]:.2f}x lowered; top {K} the same for {row['same_up_to_ties']}",
        flush=True,
    )


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(json.dumps(measure_memory(args.memory_of, args.dim, args.batches[0])))
        return
    sizes = sorted({min(size, args.rows) for size in (*args.growth, args.rows)})
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        found = measured(args, Path(scratch), sizes)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    plot(found, args.out.with_suffix(".svg"))
    print(f"wrote {args.out} and {args.out.with_suffix('.svg')}")


def measured(args: argparse.Namespace, scratch: Path, sizes: list[int]) -> dict[str, Any]:
    """All tables, as they are saved."""
    path, flat = scratch / "i.index", Flat(args.dim, args.threads)
    index, spent, growth = Index.create(path, dim=args.dim, identity=IDENTITY), 0.0, []
    for size in sizes:
        spent += grow(index, size)
        flat.follow(index)
        for batch in GROWTH_BATCHES:
            growth.append(compare(index, flat, batch, args.repeats))
            show(growth[-1])
    # All vectors have one spectrum; a chunk of them says how many dimensions they fill.
    variances = torch.linalg.svdvals(draw(CHUNK, args.dim, 0)).square()
    effective = float(variances.sum() ** 2 / variances.square().sum())
    batches = []
    for batch in args.batches:
        batches.append(compare(index, flat, batch, args.repeats))
        show(batches[-1])
    del flat
    index.close()
    used = [memory(path, args.dim, batch, args.threads) for batch in args.batches]
    print("peak memory / float16 bytes:", [round(row["ratio"], 2) for row in used])
    build = None
    if args.encoder and args.photos:
        build = build_rate(scratch, args.encoder, args.photos, args.repeats)
        print(f"build: {100 * build['share']:.0f} % of the encoder's own throughput")
    else:
        print("NOT measured: the build's rate, which needs --encoder and --photos")
    return {
        "command": " ".join(["python", "benchmarks/origin_search.py", *sys.argv[1:]]),
        "version": __version__,
        "machine": machine(args.threads),
        "rows": index_rows(batches),
        "dim": args.dim,
        "effective_dimensions": effective,
        "batches": batches,
        "growth": growth,
        "memory": used,
        "add_vectors_per_second": index_rows(batches) / spent,
        "build": build,
    }


def index_rows(batches: list[dict[str, Any]]) -> int:
    return int(batches[-1]["rows"])


def machine(threads: int) -> dict[str, Any]:
    import faiss

    from wherefrom.core.compute.passes import multiplies_bfloat16

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "bfloat16": multiplies_bfloat16(torch.device("cpu")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "faiss": faiss.__version__,
    }


def processor() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 256, 1024])
    parser.add_argument(
        "--growth", type=int, nargs="*", default=[10_000, 30_000, 100_000, 300_000, 1_000_000]
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--encoder", help="with --photos: also measure a whole build")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--scratch", type=Path, help="where the index is made, 3 KB per vector")
    parser.add_argument("--out", type=Path, default=Path("docs/results/origin_search.json"))
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
