"""Embedding many images: in this process, or by the actors of a Ray cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from wherefrom.core.compute.cluster import ray_cluster, require_room, start_actor
from wherefrom.core.errors import InputError

MAX_ATTEMPTS = 3  # a batch whose actor dies is given to another one

Key = TypeVar("Key")


class BatchEmbedder(Protocol):
    """What embeds images, as an `Encoder` does."""

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) of images (N, 3, H, W) in [0, 1]."""

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""


class BulkEmbedding(Protocol):
    """Embeds batches, in their order; it reads ahead at most two batches per worker."""

    def __call__(
        self, encoder: BatchEmbedder, batches: Iterable[tuple[Key, Tensor]]
    ) -> Iterator[tuple[Key, Tensor]]:
        """Pairs (key, images (n, 3, H, W) in [0, 1]) to pairs (key, embeddings (n, D))."""


def embed_here(
    encoder: BatchEmbedder, batches: Iterable[tuple[Key, Tensor]]
) -> Iterator[tuple[Key, Tensor]]:
    """One batch after the other, in this process."""
    return ((key, encoder.embed(images)) for key, images in batches)


def embed_on(device: str) -> BulkEmbedding:
    """The same on a device of this machine; the encoder's module is moved there."""
    return lambda encoder, batches: embed_here(encoder.to(device), batches)


@dataclass(frozen=True)
class RayEmbedding:
    """A `BulkEmbedding` by one Ray actor for each entry of `devices`.

    The encoder goes to the actors as it is, so its files need not be there; images are decoded by
    this process.  A batch is embedded whole by one actor, the same as here.  A batch whose actor
    dies is tried again, three times in all.  `MissingExtraError` without ray, `InputError` where
    the cluster has no room for so many.
    """

    devices: tuple[str, ...] = ("cpu",)
    address: str | None = None  # as in ray.init
    gpus: float = 1.0  # of one GPU, per actor of a device other than cpu

    def __call__(
        self, encoder: BatchEmbedder, batches: Iterable[tuple[Key, Tensor]]
    ) -> Iterator[tuple[Key, Tensor]]:
        """As `BulkEmbedding`."""
        if not self.devices:
            raise InputError("no device is given to embed on; give at least one, as in cpu")
        with ray_cluster("the executor ray", address=self.address) as ray:
            require_room(ray, self.devices, gpus=self.gpus)
            yield from _Actors(ray, ray.put(encoder.to("cpu")), self).embedded(iter(batches))


class EmbeddingActor:
    """The encoder on the device of a Ray actor."""

    def __init__(self, device: str, encoder: BatchEmbedder) -> None:
        self.device, self.encoder = device, encoder.to(device)

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (n, D) on the CPU."""
        return self.encoder.embed(images.to(self.device)).cpu()


@dataclass(eq=False)
class _EmbeddingJob:
    key: Any
    images: Tensor | None  # until they are embedded
    attempts: int = 0
    embedding: Tensor | None = None


@dataclass(eq=False)
class _Actors:
    ray: Any
    encoder: Any  # a reference
    settings: RayEmbedding
    idle: list[tuple[str, Any]] = field(default_factory=list)
    busy: dict[Any, tuple[str, Any, _EmbeddingJob]] = field(default_factory=dict)

    def embedded(self, batches: Iterator[tuple[Key, Tensor]]) -> Iterator[tuple[Key, Tensor]]:
        """Results in the order of the batches; a result that waits for an earlier one is kept."""
        self.idle = [(device, self._new(device)) for device in self.settings.devices]
        queue: deque[_EmbeddingJob] = deque()
        try:
            while True:
                while self.idle and len(queue) < 2 * len(self.settings.devices):
                    batch = next(batches, None)
                    if batch is None:
                        break
                    queue.append(_EmbeddingJob(*batch))
                    self._give(queue[-1])
                if not queue:
                    return
                while queue and (embedding := queue[0].embedding) is not None:
                    yield queue.popleft().key, embedding
                if self.busy:
                    self._collect()
        finally:
            for actor in [a for _, a in self.idle] + [a for _, a, _ in self.busy.values()]:
                self.ray.kill(actor)

    def _new(self, device: str) -> Any:
        return start_actor(self.ray, EmbeddingActor, device, self.encoder, gpus=self.settings.gpus)

    def _give(self, job: _EmbeddingJob) -> None:
        device, actor = self.idle.pop()
        job.attempts += 1
        self.busy[actor.embed.remote(job.images)] = (device, actor, job)

    def _collect(self) -> None:
        """Wait for one batch; give it again where its actor is gone."""
        (reference, *_), _ = self.ray.wait(list(self.busy), num_returns=1)
        device, actor, job = self.busy.pop(reference)
        try:
            job.embedding, job.images = torch.as_tensor(self.ray.get(reference)), None
            self.idle.append((device, actor))
        except self.ray.exceptions.RayTaskError as error:
            self.idle.append((device, actor))
            raise RuntimeError(f"a worker failed:\n{error}") from error
        except self.ray.exceptions.RayError as error:
            if job.attempts == MAX_ATTEMPTS:
                raise InputError(
                    f"{MAX_ATTEMPTS} workers in a row died while embedding one batch of images; "
                    "check their machines' memory, or embed without --executor ray"
                ) from error
            self.idle.append((device, self._new(device)))
            self._give(job)
