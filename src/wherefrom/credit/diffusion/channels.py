"""Groups of channels of a diffusers UNet2DModel that can only be cut together.

The forward pass is followed with channel groups in the place of tensors.  A layer makes a new
group; adding two tensors merges their groups; concatenating tensors keeps their groups apart, each
at its offset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn

from wherefrom.core.errors import InputError

FREE = -1  # channels of no group: those of the image, and of the time's sinusoids


class Piece(NamedTuple):
    """`size` adjacent channels of one group."""

    group: int
    size: int


Stream = tuple[Piece, ...]


class Member(NamedTuple):
    """A side of a layer with channels of a group, which begin at `offset`."""

    layer: str
    side: str  # "out" rows of the weight, "in" columns, or "norm"
    offset: int


@dataclass
class Group:
    """Channels that are cut together.

    `quantum`: their number must stay a multiple of it.  `heads`: equal parts, each of which must
    lose the same number.  `frozen`: none of them may be cut.
    """

    size: int
    members: list[Member] = field(default_factory=list)
    quantum: int = 1
    heads: int = 1
    frozen: bool = False


def channel_groups(unet: nn.Module) -> list[Group]:
    """The groups of a UNet2DModel that may be cut, in order of the forward pass.

    The channels of the image, of the time's sinusoids and of the last layer are never cut.
    `InputError` for blocks whose channels cannot be followed.
    """
    tracer = _ChannelTracer(unet)
    tracer.run()
    return [group for group in tracer.merged() if not group.frozen and group.members]


class _ChannelTracer:
    """Follows the forward pass of a UNet2DModel with channel groups instead of tensors."""

    def __init__(self, unet: Any) -> None:
        self.unet = unet
        self.layers = dict(unet.named_modules())
        self.names = {module: name for name, module in unet.named_modules()}
        self.groups: list[Group] = []
        self.parent: list[int] = []
        self.time: Stream = ()

    def merged(self) -> list[Group]:
        """All groups after merging; those merged into another one have no members."""
        for index, group in enumerate(self.groups):
            root = self.find(index)
            if root == index:
                continue
            home = self.groups[root]
            home.members += group.members
            home.quantum = max(home.quantum, group.quantum)
            home.heads = max(home.heads, group.heads)
            home.frozen |= group.frozen
            group.members = []
        return self.groups

    def find(self, index: int) -> int:
        """The group into which the group `index` was merged."""
        while self.parent[index] != index:
            index = self.parent[index]
        return index

    def run(self) -> None:
        """The forward pass."""
        u = self.unet
        if u.config.resnet_time_scale_shift != "default":
            raise self.unknown(f"resnet_time_scale_shift {u.config.resnet_time_scale_shift!r}")
        first = u.time_embedding.linear_1
        hidden = self.layer(first, (Piece(FREE, first.in_features),))
        self.time = self.layer(u.time_embedding.linear_2, hidden)
        if u.class_embedding is not None:
            self.time = self.add(self.time, self.classes(u.class_embedding))
        x = self.layer(u.conv_in, (Piece(FREE, u.conv_in.in_channels),))
        skips = [x]
        for block in u.down_blocks:
            x = self.down(block, x, skips)
        x = self.middle(u.mid_block, x)
        for block in u.up_blocks:
            x = self.up(block, x, skips)
        self.norm(u.conv_norm_out, x)
        (last,) = self.layer(u.conv_out, x)
        self.groups[last.group].frozen = True

    def down(self, block: Any, x: Stream, skips: list[Stream]) -> Stream:
        """A block on the way down; it appends its skip connections to `skips`."""
        for resnet, attention in zip(block.resnets, self.attentions(block), strict=True):
            x = self.attend(attention, self.resnet(resnet, x))
            skips.append(x)
        for sampler in block.downsamplers or ():
            x = self.resample(sampler, x)
            skips.append(x)
        return x

    def middle(self, block: Any, x: Stream) -> Stream:
        """The block at the bottom."""
        if block is None:
            return x
        x = self.resnet(block.resnets[0], x)
        for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
            x = self.resnet(resnet, self.attend(attention, x))
        return x

    def up(self, block: Any, x: Stream, skips: list[Stream]) -> Stream:
        """A block on the way up; it takes from `skips`."""
        for resnet, attention in zip(block.resnets, self.attentions(block), strict=True):
            x = self.attend(attention, self.resnet(resnet, x + skips.pop()))
        for sampler in block.upsamplers or ():
            x = self.resample(sampler, x)
        return x

    def attentions(self, block: Any) -> list[Any]:
        """The attention after each resnet, None where there is none."""
        layers = list(getattr(block, "attentions", None) or ())
        if len(layers) not in (0, len(block.resnets)):
            raise self.unknown(type(block).__name__)
        return layers or [None] * len(block.resnets)

    def resample(self, sampler: Any, x: Stream) -> Stream:
        """A convolution between two resolutions."""
        convolution = getattr(sampler, "conv", None)
        if not isinstance(convolution, nn.Conv2d):
            raise self.unknown(type(sampler).__name__)
        return self.layer(convolution, x)

    def resnet(self, block: Any, x: Stream) -> Stream:
        """Two convolutions with the time added between them, and a shortcut."""
        if type(block).__name__ != "ResnetBlock2D":
            raise self.unknown(type(block).__name__)
        self.norm(block.norm1, x)
        h = self.layer(block.conv1, x)
        if block.time_emb_proj is not None:
            h = self.add(h, self.layer(block.time_emb_proj, self.time))
        self.norm(block.norm2, h)
        h = self.layer(block.conv2, h)
        return self.add(x if block.conv_shortcut is None else self.layer(block.conv_shortcut, x), h)

    def attend(self, attention: Any, x: Stream) -> Stream:
        """Attention: channels of queries, keys and values are paired, within their head."""
        if attention is None:
            return x
        if attention.group_norm is not None:
            self.norm(attention.group_norm, x)
        (q,) = q_stream = self.layer(attention.to_q, x)
        self.add(q_stream, self.layer(attention.to_k, x))
        self.add(q_stream, self.layer(attention.to_v, x))
        self.groups[self.find(q.group)].heads = attention.heads
        return self.add(x, self.layer(attention.to_out[0], q_stream))

    def classes(self, embedding: Any) -> Stream:
        """The embedding of classes; its columns are channels."""
        if not isinstance(embedding, nn.Embedding):
            raise self.unknown(type(embedding).__name__)
        return self.new(embedding.embedding_dim, Member(self.names[embedding], "in", 0))

    def layer(self, module: Any, x: Stream) -> Stream:
        """A convolution or a linear layer: it reads `x` and makes a new group."""
        name, offset = self.names[module], 0
        for piece in x:
            if piece.group != FREE:
                self.groups[self.find(piece.group)].members.append(Member(name, "in", offset))
            offset += piece.size
        return self.new(len(module.weight), Member(name, "out", 0))

    def new(self, size: int, member: Member) -> Stream:
        """A new group."""
        self.groups.append(Group(size, [member]))
        self.parent.append(len(self.parent))
        return (Piece(len(self.groups) - 1, size),)

    def norm(self, module: nn.GroupNorm, x: Stream) -> None:
        """Group normalisation: each piece must stay a multiple of the number of its groups."""
        offset = 0
        for piece in x:
            group = self.groups[self.find(piece.group)]
            group.members.append(Member(self.names[module], "norm", offset))
            group.quantum = max(group.quantum, module.num_groups)
            offset += piece.size

    def add(self, x: Stream, y: Stream) -> Stream:
        """Addition of two tensors: merge their groups."""
        if [piece.size for piece in x] != [piece.size for piece in y]:
            raise self.unknown("addition of tensors made of different parts")
        for a, b in zip(x, y, strict=True):
            first, second = sorted((self.find(a.group), self.find(b.group)))
            self.parent[second] = first
        return x

    def unknown(self, what: str) -> InputError:
        """The error for a network whose channels cannot be followed."""
        return InputError(
            f"{what} of this {type(self.unet).__name__} cannot be pruned; use the game fine-tune, "
            "or a UNet2DModel of plain resnet and attention blocks"
        )
