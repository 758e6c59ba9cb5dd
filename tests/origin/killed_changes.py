"""Run by test_crashes.py in a process of its own: changes of an index that are killed -9.

`moments`: each kind of change, killed before every file call and every SQL statement.  Prints one
JSON object: per kind, [what a reader finds after the kill, what the next writer finds after doing
it again, files that no row names] per moment, with "old", "new" or the trouble.
`random`: a child that adds, deletes and compacts, and says what is done; it is killed at random
times.  Prints what was said to be done and is not there, or is there in part.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from pathlib import Path

from making import digest, make, quick_connect, state, stored, vectors

from wherefrom.core.errors import WherefromError
from wherefrom.origin import Index, merging

WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "sqlite3.connect"}
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


def killed(folder, change, moment):
    """Make a change in a child that kills itself before step `moment`; True if it came to it."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = moment

    def count(*_):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(*arguments, **options):
        connection = quick_connect(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = connect
    sys.addaudithook(lambda event, _: count() if event in WATCHED else None)
    with Index.open(folder, writable=True) as index:
        change(index)
    os._exit(0)


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


def every_moment(folder):
    """The outcomes of all kinds of change."""
    merging.FAN_IN = 3
    template = folder / "template"
    with make(template, [vectors(4), vectors(4, seed=1)]) as index:
        index.delete([8])
        old = state(index)
    outcomes = {}
    for change in (add, delete, compact):
        shutil.copytree(template, folder / change.__name__)
        with Index.open(folder / change.__name__, writable=True) as index:
            change(index)
            states = {"old": old, "new": state(index)}
        rows, alive = [], True
        while alive:
            target = folder / f"{change.__name__}{len(rows)}"
            shutil.copytree(template, target)
            alive = killed(target, change, len(rows))
            rows.append([found(target, states), again(target, states, change), orphans(target)])
            shutil.rmtree(target)
        outcomes[change.__name__] = rows
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
    merging.FAN_IN = 3
    target, troubles, said = folder / "index", [], ""
    make(target, []).close()
    for n in range(rounds):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            keep_changing(target, write, 10_000 * n)
        os.close(write)
        time.sleep(random.Random(n).uniform(0.01, 0.15))  # noqa: S311
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(read) as pipe:
            said += pipe.read()
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


def main(folder):
    """All outcomes as JSON on stdout."""
    os.fsync = lambda handle: None  # a kill, unlike a power cut, loses nothing that was written
    sqlite3.connect = quick_connect
    result = {"moments": every_moment(folder), "random": random_moments(folder, 12)}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
