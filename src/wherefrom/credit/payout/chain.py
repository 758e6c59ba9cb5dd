"""A chain of digests from the data to the payout: a changed record breaks all after it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wherefrom.core.errors import ArtifactError
from wherefrom.core.saving.store import digest_bytes

START = digest_bytes(b"wherefrom credit chain 1")


@dataclass(frozen=True)
class Link:
    """One record of the chain: `digest` covers the name, the record's content and `previous`."""

    name: str
    content: str
    previous: str
    digest: str


def canonical(value: Any) -> bytes:
    """One byte string per JSON value: sorted names, no spaces, UTF-8.  NaN is a `ValueError`."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def build_chain(records: Sequence[tuple[str, Any]]) -> tuple[Link, ...]:
    """Links for named records (JSON values), in order."""
    links: list[Link] = []
    for name, record in records:
        previous = links[-1].digest if links else START
        content = digest_bytes(canonical(record))
        links.append(Link(name, content, previous, _digest(name, content, previous)))
    return tuple(links)


def verify_chain(records: Sequence[tuple[str, Any]], links: Sequence[Mapping[str, str]]) -> str:
    """The last digest, if the links are those of the records; else an `ArtifactError`.

    It names the first record that is not what it was when the chain was made.
    """
    built = build_chain(records)
    if len(built) != len(links):
        raise ArtifactError(
            f"the chain has {len(links)} links for {len(built)} records; records were added or "
            "removed after it was made"
        )
    for new, old in zip(built, links, strict=True):
        if new.name != old.get("name") or new.content != old.get("content"):
            raise ArtifactError(f"the record {new.name!r} was changed after the chain was made")
        if (new.previous, new.digest) != (old.get("previous"), old.get("digest")):
            raise ArtifactError(f"the chain itself was changed at {new.name!r}")
    return built[-1].digest if built else START


def _digest(name: str, content: str, previous: str) -> str:
    return digest_bytes(canonical([name, content, previous]))
