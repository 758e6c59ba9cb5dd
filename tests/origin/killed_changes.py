"""Changes of an index that are killed -9, for test_crashes.py.

`every_moment`: each kind of change, killed before every file call and every SQL statement.  Per
moment, [what a reader finds after the kill, what the next writer finds after doing it again, files
that no row names], with "old", "new" or the trouble.
`random_moments`: a child that adds, deletes and compacts, and says what is done; it is killed at
random times.  What was said to be done and is not there, or is there in part.
"""

import os
import random
import shutil
import time
from functools import partial
from itertools import islice

from disk import quick_connect
from forked import Child, before_steps, content, killed_before_step
from making import digest, make, state, stored, vectors

from wherefrom.core.errors import WherefromError
from wherefrom.origin.index import compaction as merging
from wherefrom.origin.index.index import Index

BATCH = 3


def add(index):
    """A new image, one with other content, one that is there; then a merge of small segments."""
    names = ["/new", "/2", "/3"]
    index.add(names, [digest("new"), digest("other"), digest(3)], vectors(3, seed=9))


def delete(index):
    """Three images of two segments."""
    index.delete([1, 2, 5])


def compact(index):
    """Segments with deleted images become one."""
    index.compact()


def relocate(index):
    """Two images swap their paths, one has a new one, and one is gone."""
    index.relocate({1: b"/1", 2: b"/0", 3: b"/elsewhere"}, [6])


def make_change(folder, change):
    """Open the index, change it, close it."""
    with Index.open(folder, writable=True) as index:
        change(index)


def found(folder, states, *, writable=False, change=None):
    """ "old", "new" or what is wrong, after `change` if one is given."""
    try:
        with Index.open(folder, writable=writable) as index:
            if change is not None:
                change(index)
            index.verify()
            seen = state(index)
    except WherefromError as error:
        return f"error: {error}"
    return next((name for name, known in states.items() if known == seen), "neither")


def again(folder, states, change):
    """The change made once more, if a reader does not see it already."""
    seen = found(folder, states, writable=True)
    return found(folder, states, writable=True, change=change if seen == "old" else None)


def orphans(folder):
    """Files in the folder of the segments that no row of the manifest names, and the reverse."""
    try:
        with Index.open(folder) as index:
            named = {place.info.name for place, _ in index._held}
    except WherefromError as error:
        return [f"error: {error}"]
    return sorted(named ^ {path.name for path in (folder / "segments").iterdir()})


def outcome(folder, states, change):
    """What a kill that left this folder has done."""
    return [found(folder, states), again(folder, states, change), orphans(folder)]


def every_moment(folder):
    """Per kind of change the outcomes of all steps, a step, and the outcome of a kill there."""
    template = folder / "template"
    with make(template, [vectors(4), vectors(4, seed=1)]) as index:
        index.delete([8])
        old = state(index)
    outcomes = {}
    for change in (add, delete, compact, relocate):
        target, real = folder / change.__name__, folder / f"{change.__name__}-killed"
        shutil.copytree(template, target)
        shutil.copytree(template, real)
        work = partial(make_change, target, change)
        copies = before_steps(
            work, target, folder / f"{change.__name__}-copies", connect=quick_connect
        )
        with Index.open(target) as index:
            states = {"old": old, "new": state(index)}
        rows, last = [], None
        for copy in copies:
            here = content(copy)
            # A step that wrote nothing: the same files have the same outcome.
            rows.append(rows[-1] if here == last else outcome(copy, states, change))
            last = here
        work = partial(make_change, real, change)
        step = len(copies) * 2 // 3
        assert killed_before_step(step, work, folder / "said", connect=quick_connect)
        outcomes[change.__name__] = rows, step, outcome(real, states, change)
    return outcomes


def keep_changing(folder, pipe, number):
    """Add batches from `number` on, say each when it is done; at times delete one, or compact."""
    rng = random.Random(number)  # noqa: S311 (moments, not cryptography)
    with Index.open(folder, writable=True) as index:
        while True:
            some = range(number * BATCH, number * BATCH + BATCH)
            index.add([f"/{n}" for n in some], list(map(digest, some)), vectors(BATCH, seed=number))
            os.write(pipe, f"+{number}\n".encode())
            if rng.random() < 0.3:
                os.write(pipe, f"?{number}\n".encode())
                index.delete([image or 0 for image in index.find([f"/{n}" for n in some])])
                os.write(pipe, f"-{number}\n".encode())
            if rng.random() < 0.2:
                index.compact()
            number += 1


def random_moments(folder, rounds):
    """What the killed child said and what is there, after each round: lists of troubles."""
    target, troubles, said = folder / "index", [], ""
    make(target, []).close()
    for n in range(rounds):
        rng = random.Random(n)  # noqa: S311
        read, write = os.pipe()
        with os.fdopen(read) as pipe:
            work = partial(keep_changing, target, write, 10_000 * n)
            with Child(work, folder / "said"):
                os.close(write)
                said += "".join(islice(pipe, rng.randrange(2, 14)))
                time.sleep(rng.uniform(0, 0.02))
            said += pipe.read()
        assert (folder / "said").read_text() == ""
        troubles += compared(target, said.split())
    return {"troubles": troubles, "said": len(said.split())}


def compared(target, said):
    """Every batch that was added and not deleted is there, whole and right; others whole or not."""
    try:
        with Index.open(target) as index:
            index.verify()
            seen = state(index)
    except WherefromError as error:
        return [str(error)]
    trouble = []
    numbers = {int(path[1:]) // BATCH for path in seen} | {int(word[1:]) for word in said}
    for number in numbers:
        rows = stored(vectors(BATCH, seed=number))
        whole = {
            f"/{n}": (digest(n), row.tobytes())
            for n, row in zip(range(number * BATCH, number * BATCH + BATCH), rows, strict=True)
        }
        there = {path: seen[path] for path in whole if path in seen}
        words = {sign for sign in "+?-" if f"{sign}{number}" in said}
        allowed = {"+": [whole], "+?": [whole, {}], "+?-": [{}], "": [whole, {}]}
        if there not in allowed["".join(sign for sign in "+?-" if sign in words)]:
            trouble.append([number, sorted(words), sorted(there)])
    return trouble


def small_merges(patch):
    """Merges happen early."""
    patch.setattr(merging, "FAN_IN", 3)
