"""A Ray cluster, for whatever runs on many machines (extra `ray`)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wherefrom.core.errors import InputError
from wherefrom.core.optional import need

CPU = "cpu"
CONNECT_SECONDS = 5.0


@contextmanager
def ray_cluster(what: str, *, address: str | None = None) -> Iterator[Any]:
    """The module `ray`, connected inside the `with` block; an earlier connection is left open.

    `address` as in `ray.init` (none: the cluster of RAY_ADDRESS, else one of this machine).
    `MissingExtraError`, naming `what`, without ray; `InputError` where no cluster answers there.
    """
    ray = need("ray", what, extra="ray")
    if ray.is_initialized():
        yield ray
        return
    _require_answer(address or os.environ.get("RAY_ADDRESS", ""))
    ray.init(address=address, include_dashboard=False, log_to_driver=False)
    try:
        yield ray
    finally:
        ray.shutdown()


def require_room(ray: Any, devices: Sequence[str], *, gpus: float = 1.0) -> None:
    """An `InputError` unless the cluster has room for an actor per device.

    Without this check, Ray would wait for room without end.
    """
    for device in devices:
        if device != CPU and device.partition(":")[0] != "cuda":
            raise InputError(
                f"workers of Ray run on cpu or cuda, not on {device!r}; name one of these"
            )
    having = ray.cluster_resources()
    for kind, wanted in (
        ("CPU", float(len(devices))),
        ("GPU", gpus * sum(device != CPU for device in devices)),
    ):
        if wanted > having.get(kind, 0.0):
            raise InputError(
                f"{len(devices)} workers ({','.join(devices)}) need {wanted:g} {kind}s, and the "
                f"Ray cluster has {having.get(kind, 0.0):g}; name fewer devices"
            )


def start_actor(ray: Any, make: type, device: str, *arguments: Any, gpus: float = 1.0) -> Any:
    """Start an actor `make(device, *arguments)`, which Ray never restarts or retries.

    For a device other than cpu it asks for `gpus` of one GPU, which it sees as its only one.
    """
    wanted = 0.0 if device == CPU else gpus
    actor = ray.remote(make).options(
        num_cpus=1, num_gpus=wanted, max_restarts=0, max_task_retries=0
    )
    return actor.remote("cuda:0" if wanted else CPU, *arguments)


def _require_answer(address: str) -> None:
    """An `InputError` if nothing listens at host:port; Ray itself would ask for ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "", "auto", "local": Ray's to resolve
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster answers at {address}: {error}; start one (ray start --head), or unset "
            "RAY_ADDRESS to use this machine"
        ) from error
