"""Watches the tensor operations of a running generator.

It sees what reaches the dispatcher (aten operations), so modules, functional calls with computed
weights, in-place activations, TorchScript and exported programs all look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

# The linear operations, and which argument is the one that they act on.
LINEAR_OPS = {"convolution": 0, "mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
COMPOSITE = "CompositeImplicitAutograd"
# Constants up to this size are remembered: biases that are added by an operation of their own.
MAX_CONSTANT = 4096


@dataclass(frozen=True, eq=False)
class LinearCall:
    """The arguments of one linear operation."""

    op: str
    args: tuple[Any, ...]
    skip: Tensor | None = None  # what is added to the result, where that was asked for

    @property
    def activation(self) -> Tensor:
        """The argument that the weight acts on."""
        own: Tensor = self.args[LINEAR_OPS[self.op]]
        return own


class LinearObserver(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts linear operations and keeps the arguments of the one numbered `wanted`.

    With `wanted_sum` it keeps one operand of an addition too: (number of the addition, operand).
    """

    def __init__(
        self, wanted: int | None = None, wanted_sum: tuple[int, int] | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wanted = wanted
        self.wanted_sum = wanted_sum
        self.linear_count = 0
        self.sum_count = 0
        self._call: LinearCall | None = None
        self._summand: Tensor | None = None

    @property
    def captured(self) -> LinearCall | None:
        """What was wanted; None if the run did not meet all of it."""
        if self._call is None or (self.wanted_sum is not None and self._summand is None):
            return None
        return replace(self._call, skip=self._summand)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation; a composite one is taken apart first (inference mode leaves them)."""
        kwargs = kwargs or {}
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE):
            with self:
                return func.decompose(*args, **kwargs)
        name = operation_name(func)
        if name in LINEAR_OPS:
            if self.linear_count == self.wanted:
                # A copy: an activation that works in place may overwrite the input later.
                own = LINEAR_OPS[name]
                copied = (*args[:own], args[own].clone(), *args[own + 1 :])
                self._call = LinearCall(name, copied)
            self.linear_count += 1
        elif name == "add":
            if self.wanted_sum is not None and self.sum_count == self.wanted_sum[0]:
                self._summand = args[self.wanted_sum[1]].clone()
            self.sum_count += 1
        return self.observe(func, args, kwargs)

    def observe(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operation; subclasses look at it."""
        return func(*args, **kwargs)


def operation_name(func: Any) -> str:
    """`relu` for aten.relu.default and aten.relu_.default alike."""
    name: str = func.overloadpacket.__name__
    # Traced TorchScript calls the variant that carries backend flags behind the same arguments.
    return "convolution" if name == "_convolution" else name.rstrip("_")


@dataclass(frozen=True, eq=False)
class Operand:
    """A tensor that an operation was given.

    `node`: the operation that made it, None if it existed before.  `stale`: its memory was written
    later through another view.  `value`: its value if it is one constant number.  `constant`: the
    tensor itself if no random draw reached it.
    """

    shape: tuple[int, ...]
    node: Node | None
    stale: bool
    value: float | None
    constant: Tensor | None

    @property
    def varies(self) -> bool:
        """Whether it depends on a random draw, as far as the watched operations tell."""
        return self.node is not None and self.node.varies


@dataclass(frozen=True, eq=False)
class Node:
    """One operation; `args` by name with defaults filled in, tensors replaced by `Operand`."""

    index: int
    op: str
    args: dict[str, Any]
    shape: tuple[int, ...]
    floating: bool
    varies: bool
    linear_index: int | None
    sum_index: int | None

    def operands(self) -> list[Operand]:
        """Its tensor arguments in order."""
        return [leaf for leaf in tree_leaves(self.args) if isinstance(leaf, Operand)]

    def ancestors(self) -> Iterator[Node]:
        """Every operation it depends on, the latest first."""
        open_nodes = {id(o.node): o.node for o in self.operands() if o.node is not None}
        while open_nodes:
            latest = max(open_nodes.values(), key=lambda node: node.index)
            del open_nodes[id(latest)]
            yield latest
            open_nodes |= {id(o.node): o.node for o in latest.operands() if o.node is not None}


class Trace(LinearObserver):  # type: ignore[no-untyped-call]
    """Records the graph of operations; of tensors it holds only constants."""

    def __init__(
        self, wanted: int | None = None, wanted_sum: tuple[int, int] | None = None
    ) -> None:
        super().__init__(wanted, wanted_sum)
        self.batch_statistics = False
        self._count = 0
        self._makers = WeakTensorKeyDictionary()
        self._written: dict[int, int] = {}

    def observe(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operation and remember what made its outputs."""
        named, written = self._bind(func, args, kwargs)
        operands: dict[str, Any] = tree_map_only(Tensor, self.operand, named)
        out = func(*args, **kwargs)
        self._count += 1
        name = operation_name(func)
        self.batch_statistics |= _uses_batch_statistics(name, operands)
        random = torch.Tag.nondeterministic_seeded in func.tags
        varies = random or any(
            leaf.varies for leaf in tree_leaves(operands) if isinstance(leaf, Operand)
        )
        linear_index = self.linear_count - 1 if name in LINEAR_OPS else None
        for tensor in [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)] + written:
            self._makers[tensor] = Node(
                index=self._count,
                op=name,
                args=operands,
                shape=tuple(tensor.shape),
                floating=tensor.dtype.is_floating_point,
                varies=varies,
                linear_index=linear_index,
                sum_index=self.sum_count - 1 if name == "add" else None,
            )
        for tensor in written:
            self._written[_memory(tensor)] = self._count
        return out

    def operand(self, tensor: Tensor) -> Operand:
        """What the trace knows of a tensor at this moment."""
        node: Node | None = self._makers.get(tensor)  # type: ignore[no-untyped-call]
        since = -1 if node is None else node.index
        constant = node is None or not node.varies
        number = constant and tensor.numel() == 1 and not tensor.is_complex()
        return Operand(
            shape=tuple(tensor.shape),
            node=node,
            stale=self._written.get(_memory(tensor), -1) > since,
            value=float(tensor.item()) if number else None,
            constant=tensor
            if node is None or (constant and tensor.numel() <= MAX_CONSTANT)
            else None,
        )

    @staticmethod
    def _bind(
        func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, Any], list[Tensor]]:
        """The arguments by name, and the tensors among them that the operation writes to."""
        named: dict[str, Any] = {}
        written: list[Tensor] = []
        for place, parameter in enumerate(func._schema.arguments):
            value = parameter.default_value if parameter.has_default_value() else None
            value = args[place] if place < len(args) else kwargs.get(parameter.name, value)
            named[parameter.name] = value
            if parameter.alias_info is not None and parameter.alias_info.is_write:
                written += [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        return named, written


def watch(observer: LinearObserver, call: Callable[[], Any]) -> Any:
    """Run `call` without gradients under `observer`."""
    with torch.no_grad(), observer:
        return call()


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else id(tensor)


def _uses_batch_statistics(name: str, args: dict[str, Any]) -> bool:
    if "batch_norm" not in name or "input" not in args:
        return False
    # Instance norm is written as a batch norm of one item with N * C channels.
    several = args["input"].shape[0] > 1
    return several and bool(args.get("training", "with_update" in name))


_BRANCH_VERB = {"add": "added", "sub": "subtracted", "rsub": "subtracted", "mul": "multiplied"}
# Named in the message as having no inverse; anything else unknown is merely "not supported".
_NO_INVERSE = frozenset((
    "relu", "clamp_min", "clamp_max", "abs", "round", "floor", "ceil", "threshold", "softmax",
    "_softmax", "pow", "sin", "cos", "gelu", "silu", "hardswish", "hardsigmoid", "avg_pool2d",
    "max_pool2d", "mean", "sum", "sign",
))  # fmt: skip
DETOUR = (
    "the image does not come from the last linear layer alone: a value that does not depend on it "
    "passes on; let the generator end in a Linear, Conv or ConvTranspose layer"
)
_INSTEAD = "supported are tanh, sigmoid, clamp, arithmetic with plain numbers, and rearrangements"


def linear_name(node: Node) -> str:
    """The layer of a linear operation as messages call it, as in `Conv2d(64, 3)`."""
    operands = node.operands()
    if node.op == "convolution":
        weight, groups = operands[1].shape, int(node.args["groups"])
        if node.args["transposed"]:
            return f"ConvTranspose{len(weight) - 2}d({weight[0]}, {weight[1] * groups})"
        return f"Conv{len(weight) - 2}d({weight[1] * groups}, {weight[0]})"
    inputs = operands[LINEAR_OPS[node.op]].shape
    return f"Linear({inputs[-1]}, {node.shape[-1]})"


def linear_before(node: Node) -> Node | None:
    """The nearest linear operation at or before `node`."""
    return next((n for n in chain([node], node.ancestors()) if n.linear_index is not None), None)


def layer_before(node: Node) -> str:
    """The nearest linear operation at or before `node`, as messages call it."""
    linear = linear_before(node)
    return "any linear layer" if linear is None else f"the last linear layer {linear_name(linear)}"


def unsupported(node: Node) -> str:
    """Message: an operation that has no invertible step."""
    if not linear_before(node):
        return DETOUR
    layer = layer_before(node)
    if "batch_norm" in node.op:
        return f"batch_norm follows {layer}; fold it into the layer first"
    op = node.op.lstrip("_")
    if op in _NO_INVERSE or node.op in ("clamp", "div"):
        return f"the output passes through {op} after {layer}: its inverse does not exist"
    if op in ("cat", "stack", "copy", "index_put", "select_scatter", "slice_scatter"):
        return f"the output is put together from several parts ({op}) after {layer}"
    return f"the output passes through {op} after {layer}, which cannot be undone; {_INSTEAD}"


def branches(node: Node, operands: list[Operand]) -> str:
    """Message: two tensors meet after the last linear layer."""
    layer = layer_before(node)
    verb = _BRANCH_VERB.get(node.op, "divided")
    if all(operand.varies for operand in operands):
        return f"two branches are {verb} after {layer} (skip connection, noise or modulation)"
    constant = next((o for o in operands if not o.varies), operands[-1])
    return (
        f"a constant tensor of shape {text(constant.shape)} is {verb} after {layer}; "
        "fold it into the layer's weight and bias"
    )


def changing(node: Node) -> str:
    """Message: a number is not the same for all samples."""
    return f"{node.op} after {layer_before(node)} uses other numbers for other samples"


def text(shape: tuple[int, ...]) -> str:
    """A shape as in 3x64x64."""
    return "x".join(map(str, shape)) or "1"
