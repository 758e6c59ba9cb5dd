"""Saves that are killed -9 before every file call, for test_store.py."""

import shutil
from functools import partial

import torch
from forked import before_steps, content, killed_before_step

from wherefrom.core.errors import ArtifactError
from wherefrom.core.saving.store import NEXT_TENSORS_NAME, load_artifact, save_artifact

NAME = "it.artifact"


def save(target, version, *, overwrite):
    """One artifact whose meta and tensor both say its version."""
    save_artifact(
        target,
        kind="test/kill",
        schema=1,
        meta={"version": version},
        tensors={"x": torch.full((100,), float(version))},
        overwrite=overwrite,
    )


def found(target):
    """The version that a reader sees, None for no artifact, or a word on the damage."""
    if not target.exists():
        return None
    try:
        meta, tensors = load_artifact(target, kind="test/kill", schema=1)
    except ArtifactError as error:
        return f"damaged: {error}"
    return meta["version"] if bool((tensors["x"] == meta["version"]).all()) else "mixed"


def outcome(folder):
    """[after the kill, a replacement was under way, after the next save]."""
    target = folder / NAME
    seen, pending = found(target), (target / NEXT_TENSORS_NAME).exists()
    save(target, 3, overwrite=True)
    return [seen, pending, found(target)]


def outcomes(folder, source):
    """The outcomes of all steps of saving version 2, one of the steps, and that of a kill there.

    `source` is the folder of what is saved over, or None.
    """
    first, real = folder / "first", folder / "real"
    for place in (first, real):
        shutil.copytree(source, place) if source else place.mkdir(parents=True)
    copies = before_steps(partial(save, first / NAME, 2, overwrite=True), first, folder / "copies")
    rows, last = [], None
    for copy in copies:
        here = content(copy)
        if here == last:  # a step that wrote nothing: the same files have the same outcome
            shutil.rmtree(copy)
        rows.append(rows[-1] if here == last else outcome(copy))
        last = here
    step = len(copies) * 2 // 3
    work = partial(save, real / NAME, 2, overwrite=True)
    assert killed_before_step(step, work, folder / "said")
    return rows, step, outcome(real)


def pending_replacement(folder):
    """Version 1 replaced by version 0, killed after the change but before the last rename."""
    target = folder / "made" / NAME
    target.parent.mkdir(parents=True)
    save(target, 1, overwrite=False)
    work = partial(save, target, 0, overwrite=True)
    return next(
        copy
        for copy in before_steps(work, target.parent, folder / "copies")
        if (copy / NAME / NEXT_TENSORS_NAME).exists() and found(copy / NAME) == 0
    )


def every_moment(folder):
    """The outcomes for a first save, a replacement, and one more after it was killed."""
    old = folder / "old"
    old.mkdir()
    save(old / NAME, 1, overwrite=False)
    sources = {
        "first": None,
        "replacement": old,
        "after_a_killed_replacement": pending_replacement(folder / "pending"),
    }
    return {name: outcomes(folder / name, source) for name, source in sources.items()}
