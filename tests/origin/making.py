"""What the tests of the index share: vectors, an index that holds them, and a naive search."""

import hashlib

import numpy as np
import torch

from wherefrom.origin.index.index import Index

IDENTITY = {"encoder": "tiny", "weights": "sha256:00"}


def digest(text):
    """The digest of a file that says `text`."""
    return "sha256:" + hashlib.sha256(str(text).encode()).hexdigest()


def vectors(count, dim=48, *, seed=0, together=0.0):
    """(count, dim) float32.  The larger `together`, the more they point the same way."""
    drawn = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return drawn + together


def stored(given):
    """The rows that a segment should hold: unit norm, then float16."""
    rows = given.double().numpy()
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def make(path, batches, *, dim=48):
    """An index open for writing; image n of all batches has the path `/n`."""
    index, count = Index.create(path, dim=dim, identity=IDENTITY), 0
    for batch in batches:
        names = range(count, count + len(batch))
        index.add([f"/{n}" for n in names], [digest(n) for n in names], batch)
        count += len(batch)
    return index


def naive(rows, queries, k):
    """Ids, scores, mean and standard deviation by float64 loops over `{id: float16 row}`."""
    ids = np.array(sorted(rows))
    table = np.array([rows[image] for image in ids], dtype=np.float64)
    given = queries.double().numpy()
    scores = (given / np.linalg.norm(given, axis=1, keepdims=True)) @ table.T
    # A score is known to about 1e-11, so equal ones are made equal before they are sorted.
    order = np.argsort(-scores.round(9), axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, 1)
    return ids[order], best, scores.mean(1), scores.std(1)


def state(index):
    """{path: (digest, vector as bytes)} of all images, by way of `get` and `vectors`."""
    ids = sorted(int(image) for place in index._manifest.places() for image in place.ids)
    rows = index.vectors(ids).half().numpy()
    return {
        image.path: (image.digest, row.tobytes())
        for image, row in zip(index.get(ids), rows, strict=True)
    }
