"""Options of several commands of `wherefrom origin`, and how they open references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from wherefrom.cli.console import options as cli
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.encoders.bulk import BulkEmbedding
    from wherefrom.origin.collection.references import References
    from wherefrom.origin.searching.config import SearchConfig

encoder_option = click.option(
    "--encoder",
    default="default",
    show_default="the small one of this package",
    help="Folder of a VAE (diffusers or the project's own), or owner/name in the hub's cache.",
)
same_encoder_option = click.option(
    "--encoder",
    show_default="the one that the index was built with",
    help="Where that encoder is now, if it was moved.",
)
features_option = click.option(
    "--features",
    default="efficientnet-lite0",
    help="Feature network whose features stand beside the latents: this one, an ONNX file, a "
    "folder that transformers saved, owner/name in the hub's cache, or none.",
)
same_features_option = click.option(
    "--features",
    show_default="the one that the index was built with",
    help="Where that feature network is now, if it was moved.",
)
roots_option = click.option(
    "--root",
    "roots",
    type=cli.FILE,
    multiple=True,
    help="Where the pictures of the index are now, if their folder was moved; may be repeated.",
)
views_option = click.option(
    "--views",
    type=click.Choice(["none", "flip", "flip+crops"]),
    help="Views of a query that are searched for; default: those of the calibration.",
)
rerank_option = click.option(
    "--rerank/--no-rerank",
    default=None,
    help="Compare a query place by place with the files of the best 64; default: as in the "
    "calibration.",
)


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """Where images are embedded."""

    LAST: ClassVar[tuple[str, ...]] = ("executor", "devices", "as_json")
    executor: str = cli.option(
        "Where images are embedded.  local: this process; ray: the machines of a Ray cluster.",
        "local",
        choices=["local", "ray"],
    )
    devices: str = cli.option(
        "Where to embed.  local: one device; ray: a worker for each, separated by commas, as in "
        "cuda:0,cuda:1 or cpu,cpu.",
        "auto",
    )

    def embedding(self) -> BulkEmbedding:
        """How images are embedded."""
        from wherefrom.encoders.bulk import RayEmbedding, embed_on

        names = [name.strip() for name in self.devices.split(",")]
        if self.executor != "ray":
            if len(names) > 1:
                raise InputError(
                    f"--devices {self.devices} names {len(names)} devices, and this process embeds "
                    "on one; name one, or pass --executor ray"
                )
            return embed_on(cli.resolve_device(names[0]))
        # named devices are the cluster's, which this machine need not have
        return RayEmbedding(tuple(cli.resolve_device(n) if n == "auto" else n for n in names))


@dataclass(frozen=True, kw_only=True)
class ReferencesOptions:
    """An index, where its encoders and its pictures are now, and the device of the encoders."""

    index: Path = cli.argument()
    encoder: str | None = cli.use(same_encoder_option)
    features: str | None = cli.use(same_features_option)
    roots: tuple[Path, ...] = cli.use(roots_option)
    device: str = cli.use(cli.device_option)

    def opened(self, *, writable: bool = False) -> References:
        """The references of the index."""
        return opened_references(
            self.index,
            self.encoder,
            self.features,
            writable=writable,
            roots=self.roots,
            device=self.device,
        )


@dataclass(frozen=True, kw_only=True)
class QueryOptions(ReferencesOptions):
    """`--views`, `--rerank` and `--json` besides: the index is searched."""

    LAST: ClassVar[tuple[str, ...]] = ("report", "as_json", "device")
    views: str | None = cli.use(views_option)
    rerank: bool | None = cli.use(rerank_option)
    as_json: bool = cli.use(cli.json_option)

    def config(self, references: References) -> SearchConfig:
        """The settings of the search: those of the calibration, and those that were given."""
        given = {"views": self.views, "rerank": self.rerank}
        return references.configured({k: v for k, v in given.items() if v is not None})


def opened_references(
    index: Path,
    encoder: str | None,
    features: str | None,
    *,
    writable: bool = False,
    roots: Sequence[Path] = (),
    device: str | None = None,
) -> References:
    """The folder of references, with the encoder and the feature network that are named.

    Both are moved to the `device` (as `--device` names it) where one is given.
    """
    from wherefrom.encoders import load_encoder
    from wherefrom.origin.collection.references import References
    from wherefrom.origin.joint.rows import load_features

    return References.open(
        index,
        encoder=None if encoder is None else load_encoder(encoder),
        features=None if features is None else load_features(features),
        writable=writable,
        roots=roots,
        device=None if device is None else cli.resolve_device(device),
    )
