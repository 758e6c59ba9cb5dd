"""Run by test_store.py in a process of its own: saves that are killed -9 before every file call.

Prints one JSON object: for a first save and for a replacement, what `load_artifact` then finds
after each kill, and what it finds after the next, undisturbed save.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import torch

from wherefrom.core.errors import ArtifactError
from wherefrom.core.store import NEXT_TENSORS_NAME, load_artifact, save_artifact

WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}


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


def killed_save(target, version, moment):
    """Save in a child that kills itself before file call number `moment`; True if it came to it."""
    child = os.fork()
    if child == 0:
        left = moment

        def count(event, _):
            nonlocal left
            if event in WATCHED:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        save(target, version, overwrite=True)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def outcomes(folder, source):
    """[after the kill, a replacement was under way, after the next save], for every moment."""
    rows = []
    moment, killed = 0, True
    while killed:
        target = folder / f"{moment}.artifact"
        if source is not None:
            shutil.copytree(source, target)
        killed = killed_save(target, 2, moment)
        seen, pending = found(target), (target / NEXT_TENSORS_NAME).exists()
        save(target, 3, overwrite=True)
        rows.append([seen, pending, found(target)])
        moment += 1
    return rows


def pending_replacement(folder):
    """Version 1 replaced by version 0, killed after the change but before the last rename."""
    moment = 0
    while True:
        target = folder / f"{moment}"
        save(target, 1, overwrite=False)
        killed_save(target, 0, moment)
        if (target / NEXT_TENSORS_NAME).exists() and found(target) == 0:
            return target
        moment += 1


def main(folder):
    """All outcomes as JSON on stdout."""
    os.fsync = lambda handle: None  # a kill, unlike a power cut, loses nothing that was written
    made = folder / "made"
    made.mkdir()
    save(made / "old", 1, overwrite=False)
    sources = {
        "first": None,
        "replacement": made / "old",
        "after_a_killed_replacement": pending_replacement(made),
    }
    result = {}
    for name, source in sources.items():
        (folder / name).mkdir()
        result[name] = outcomes(folder / name, source)
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
