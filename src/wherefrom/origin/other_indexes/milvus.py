"""The index on Milvus, for more images than one machine holds.

Milvus stores the vectors and finds the most similar ones; `uri` is the address of a server or
cluster, or, for milvus-lite, the path of a file that ends in `.db`.  Every request asks for Strong
consistency: what was added or deleted before is seen.  Vectors are rounded to float16 as in
`Index`, and the scores of what Milvus finds are computed again, exactly.

Milvus does not tell how a query's scores are spread over all images.  A random share of the images
therefore also stands in a local `Index`, the sample, and the mean and standard deviation are those
over the sample.  Whether an image belongs to it depends on a digest of its path and content, so a
deletion leaves a random sample of what remains.  When it has grown to twice its size, its rate is
halved.

Deviation from `Index`: an `add` or `delete` that is interrupted may be done in part.  Given again
it is completed.  There must be one writer at a time, and Milvus does not see to that.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need
from wherefrom.core.paths import show_path
from wherefrom.core.saving.database import Closing
from wherefrom.core.saving.store import write_file
from wherefrom.origin.index.additions import (
    AdditionPlan,
    addition_result,
    checked_names,
    plan_addition,
    refuse_shape,
    require_built_with,
)
from wherefrom.origin.index.index import Index
from wherefrom.origin.index.manifest import as_json
from wherefrom.origin.index.result import AddResult, IndexedImage, SearchResult
from wherefrom.origin.index.scanning.exact import digits_of, inner, rank
from wherefrom.origin.index.scanning.scan import ScanStatistics
from wherefrom.origin.index.segments import unit_rows

FIELDS = ["id", "path", "digest", "added"]
PATH_BYTES = 4096  # of a path; Milvus holds it as hexadecimal digits
STRONG = "Strong"
PROPERTY = "wherefrom"  # of a collection: dimension, identity and size of the sample
SAMPLE_SIZE = 100_000
SAMPLING = "sampling.json"  # beside the sample's own files
REQUEST_BYTES = 2**24  # a request with more than 64 MiB is refused
REQUEST_KEYS = 1000
SPARE = 64  # candidates beyond k, since Milvus scores are rounded
MAX_RETURNED = 16_384  # images, by Milvus
TIMEOUT = 10.0


class MilvusIndex(Closing):
    """An open index on Milvus: `MilvusIndex.create` or `MilvusIndex.open`."""

    def __init__(
        self, client: Any, name: str, sample: Index, settings: Mapping[str, Any], *, writable: bool
    ) -> None:
        """Made by `create` and `open`."""
        self._writable = writable
        self.name, self.dim = name, int(settings["dim"])
        self.identity: Mapping[str, Any] = settings["identity"]
        self._client, self._sample = client, sample
        self._sample_size = int(settings["sample_size"])

    @classmethod
    def create(
        cls,
        uri: str,
        name: str,
        *,
        sample: Path | str,
        dim: int,
        identity: Mapping[str, Any],
        token: str = "",
        sample_size: int = SAMPLE_SIZE,
    ) -> Self:
        """A new collection `name`, and a new folder `sample`.

        An `InputError` if one of both exists or the server cannot be reached.
        """
        if sample_size < 1:
            raise InputError(f"the sample's size is {sample_size}, but it must be at least 1")
        client = _connected(uri, token)
        settings = {"dim": dim, "identity": dict(identity), "sample_size": sample_size}
        with _errors(uri):
            if client.has_collection(name):
                raise InputError(f"{uri} already has a collection {name}; choose another name")
        local = Index.create(sample, dim=dim, identity=identity)
        try:
            with _errors(uri):
                _create_collection(client, name, dim, as_json(settings))
        except BaseException:
            local.close()
            raise
        return cls(client, name, local, settings, writable=True)

    @classmethod
    def open(
        cls,
        uri: str,
        name: str,
        *,
        sample: Path | str,
        writable: bool = False,
        dim: int | None = None,
        identity: Mapping[str, Any] | None = None,
        token: str = "",
    ) -> Self:
        """A collection that exists, and its sample.

        An `InputError` if the server cannot be reached, there is no such collection, it is not one
        of wherefrom, or its vectors are not of `dim` and `identity`, where given.
        """
        client = _connected(uri, token)
        with _errors(uri):
            if not client.has_collection(name):
                raise InputError(f"{uri} has no collection {name}; create it, or check the name")
            settings = _settings(client.describe_collection(name), name)
            built = settings["dim"], settings["identity"]
            require_built_with(built, dim, identity, f"the collection {name}")
            client.load_collection(name)
        local = Index.open(
            sample, writable=writable, dim=settings["dim"], identity=settings["identity"]
        )
        return cls(client, name, local, settings, writable=writable)

    def add(
        self, paths: Sequence[str | os.PathLike[str]], digests: Sequence[str], vectors: Tensor
    ) -> AddResult:
        """As `Index.add`."""
        self._refuse_reader()
        names = checked_names(paths, digests)
        for name in names:
            if len(name) > PATH_BYTES:
                shown = show_path(Path(os.fsdecode(name)))
                raise InputError(f"{shown}: its path is longer than {PATH_BYTES} bytes")
        refuse_shape(vectors, (len(names), self.dim), self.name)
        unit = torch.from_numpy(unit_rows(vectors, lambda i: show_path(Path(paths[i]))))
        plan = plan_addition(names, digests, self)
        rows, now = unit[plan.given].float(), time.time()
        records = [
            {"path": i.path.hex(), "digest": i.digest, "added": now, "vector": rows[i.row].tolist()}
            for i in plan.images
        ]
        fresh: list[int] = []
        with _errors(self.name):
            for some in _split(records, max(1, REQUEST_BYTES // (8 * self.dim))):
                answer = self._client.insert(self.name, some)
                fresh += [int(image) for image in answer["ids"]]
        # New before old: a path that is replaced is never without an image.
        self._remove(plan.replaced)
        self._enter(plan, rows)
        return addition_result(plan, fresh)

    def delete(self, ids: Sequence[int]) -> None:
        """As `Index.delete`."""
        self._refuse_reader()
        gone = self.get(ids)
        self._remove([image.id for image in gone])
        self._leave([image.path for image in gone])

    def search(self, queries: Tensor, k: int = 10) -> SearchResult:
        """As `Index.search`, but that mean and standard deviation are those over the sample."""
        if k < 1:
            raise InputError(f"k is {k}, but at least one image must be asked for")
        count = self.count()
        if not count or not self._sample.count():
            what = self.name if not count else "the sample"
            raise InputError(f"{what} is empty, so there is nothing to search; add images first")
        unit = self._sample.unit_queries(queries)
        spread = self._sample.search(queries.cpu(), 1).statistics
        ids, scores = self._nearest(unit, min(k, count))
        return SearchResult(ids, scores, ScanStatistics(spread.mean, spread.std, count))

    def get(self, ids: Sequence[int]) -> tuple[IndexedImage, ...]:
        """As `Index.get`."""
        wanted = [int(image) for image in ids]
        rows = {int(row["id"]): row for row in self._rows("id", wanted)}
        for image in wanted:
            if image not in rows:
                raise InputError(f"{self.name} has no image with the id {image}")
        return tuple(_image(rows[image]) for image in wanted)

    def count(self) -> int:
        """How many images there are."""
        with _errors(self.name):
            answer = self._client.query(
                self.name, filter="", output_fields=["count(*)"], consistency_level=STRONG
            )
        return int(answer[0]["count(*)"])

    def flush(self) -> None:
        """When this returns, everything added or deleted so far outlives a crash of the server."""
        with _errors(self.name):
            self._client.flush(self.name)

    def live_paths(self, paths: Iterable[bytes]) -> dict[bytes, tuple[int, str]]:
        """(id, digest) of the images among `paths`; the newest where there are two."""
        rows = sorted(self._rows("path", [path.hex() for path in paths]), key=_age)
        return {bytes.fromhex(row["path"]): (int(row["id"]), row["digest"]) for row in rows}

    def live_digests(self, digests: Iterable[str]) -> dict[str, int]:
        """The image with the smallest id of each digest that has one."""
        first: dict[str, int] = {}
        for row in self._rows("digest", list(digests)):
            first[row["digest"]] = min(int(row["id"]), first.get(row["digest"], 2**63))
        return first

    def close(self) -> None:
        """Close the connection and the sample."""
        self._sample.close()
        with suppress(Exception):
            self._client.close()

    def _nearest(self, unit: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Ids and exact scores (Q, k) of what Milvus finds for unit queries (Q, D) float64."""
        if not len(unit):
            return torch.empty(0, k, dtype=torch.int64), torch.empty(0, k, dtype=torch.float64)
        if k + SPARE > MAX_RETURNED:
            raise InputError(f"k is {k}, but Milvus returns at most {MAX_RETURNED - SPARE} images")
        with _errors(self.name):
            answers = self._client.search(
                self.name,
                data=unit.float().tolist(),
                limit=k + SPARE,
                output_fields=["id", "vector"],
                anns_field="vector",
                search_params={"metric_type": "IP"},
                consistency_level=STRONG,
            )
        digits, best = digits_of(unit), []
        for query, hits in enumerate(answers):
            if len(hits) < k:
                raise InputError(
                    f"{self.name} returned {len(hits)} images where it holds at least {k}; is "
                    "another program changing it?"
                )
            rows = torch.tensor([hit["entity"]["vector"] for hit in hits]).half()
            ids = torch.tensor([int(hit["id"]) for hit in hits], dtype=torch.int64)
            best.append(rank(inner(rows, digits[query]), ids, k))
        return torch.stack([ids for ids, _ in best]), torch.stack([scores for _, scores in best])

    def _rows(self, field: str, values: Sequence[int] | Sequence[str]) -> Iterator[dict[str, Any]]:
        """The images whose `field` is one of `values`.

        Values are integers, or made of hexadecimal digits and `sha256:`, so that none can say
        anything in the filter's language.
        """
        for some in _split(list(dict.fromkeys(values)), REQUEST_KEYS):
            with _errors(self.name):
                yield from self._client.query(
                    self.name,
                    filter=f"{field} in {json.dumps(list(some))}",
                    output_fields=FIELDS,
                    consistency_level=STRONG,
                )

    def _remove(self, ids: Sequence[int]) -> None:
        with _errors(self.name):
            for some in _split(ids, REQUEST_KEYS):
                self._client.delete(self.name, ids=list(some))

    def _enter(self, plan: AdditionPlan, rows: Tensor) -> None:
        """Let new images into the sample, those that belong to it."""
        rate = self._rate()
        chosen = [i for i in plan.images if _draw(i.path, i.digest) < rate]
        self._leave([os.fsdecode(i.path) for i in plan.images])  # as they were
        if chosen:
            names = [os.fsdecode(i.path) for i in chosen]
            self._sample.add(names, [i.digest for i in chosen], rows[[i.row for i in chosen]])
        while self._sample.count() >= 2 * self._sample_size:
            rate = self._rate() / 2
            write_file(self._sample.path / SAMPLING, json.dumps({"rate": rate}).encode())
            everyone = self._sample.images()
            out = [i.id for i in everyone if _draw(os.fsencode(i.path), i.digest) >= rate]
            self._sample.delete(out)

    def _leave(self, paths: Sequence[str]) -> None:
        there = self._sample.find(paths)
        self._sample.delete([image for image in there if image is not None])

    def _rate(self) -> float:
        place = self._sample.path / SAMPLING
        return float(json.loads(place.read_text())["rate"]) if place.exists() else 1.0

    def _refuse_reader(self) -> None:
        if not self._writable:
            raise InputError(f"{self.name} was opened for reading; open it with writable=True")


def _connected(uri: str, token: str) -> Any:
    pymilvus = need("pymilvus", "an index on Milvus", extra="milvus")
    with _errors(uri):
        return pymilvus.MilvusClient(uri=uri, token=token, timeout=TIMEOUT)


def _create_collection(client: Any, name: str, dim: int, settings: str) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=True, description=settings)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("path", DataType.VARCHAR, max_length=2 * PATH_BYTES)
    schema.add_field("digest", DataType.VARCHAR, max_length=71)
    schema.add_field("added", DataType.DOUBLE)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    params = client.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="IP")
    client.create_collection(
        name,
        schema=schema,
        index_params=params,
        consistency_level=STRONG,
        properties={PROPERTY: settings},
    )


def _settings(described: Mapping[str, Any], name: str) -> dict[str, Any]:
    # Twice there: milvus-lite forgets descriptions.
    text = described.get("properties", {}).get(PROPERTY) or described.get("description", "")
    try:
        settings = json.loads(text)
        if isinstance(settings, dict) and {"dim", "identity", "sample_size"} <= set(settings):
            return settings
    except ValueError:
        pass
    raise InputError(f"the collection {name} was not made by wherefrom; choose another name")


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """Turn errors of Milvus into an `InputError` of one line."""
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, OSError) as error:
        what = " ".join(str(getattr(error, "message", "") or error).split())
        raise InputError(
            f"Milvus at {where} says: {what}; check the address, the token and the name"
        ) from error


def _split(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[first : first + size] for first in range(0, len(values), size))


def _image(row: Mapping[str, Any]) -> IndexedImage:
    path = os.fsdecode(bytes.fromhex(row["path"]))
    return IndexedImage(int(row["id"]), path, row["digest"], float(row["added"]))


def _age(row: Mapping[str, Any]) -> tuple[float, int]:
    return float(row["added"]), int(row["id"])


def _draw(path: bytes, digest: str) -> float:
    """A number in [0, 1) that is this image's alone."""
    drawn = hashlib.sha256(digest.encode() + path).digest()
    return int.from_bytes(drawn[:6], "big") / 2**48
