"""Translates the operations between the last linear one and the image into invertible steps.

What cannot be undone is refused here, in one line that names the operation and the layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from wherefrom.core.errors import InputError
from wherefrom.generators.last_layer.output_map import (
    Affine,
    Clamp,
    Flip,
    Permute,
    Reshape,
    Sigmoid,
    Step,
    Tanh,
)
from wherefrom.generators.last_layer.tracing import (
    DETOUR,
    Node,
    Operand,
    branches,
    changing,
    layer_before,
    linear_before,
    text,
    unsupported,
)

# Images in the two batches that are traced: a size that grows with the batch differs between them.
FIRST_BATCH, SECOND_BATCH = 2, 3

# Same values in the same order, as long as no value is dropped or repeated.
_SAME_VALUES = frozenset((
    "view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "flatten",
    "unflatten", "select", "slice", "narrow", "expand", "alias", "detach", "clone",
    "contiguous", "_to_copy", "lift_fresh",
))  # fmt: skip
_ARITHMETIC = frozenset(["add", "sub", "rsub", "mul", "div", "neg"])


def walk_back(output: Operand) -> tuple[Node, list[Node]]:
    """From the image back to the last linear operation: that node, and those after it in order.

    An `InputError` names what stands in the way.
    """
    if output.node is None or not linear_before(output.node):
        raise InputError(
            "no linear layer found: the generator must end in a Linear, Conv or ConvTranspose "
            "layer, followed by tanh, sigmoid, clamp or nothing"
        )
    after: list[Node] = []
    operand = output
    while operand.node is not None:
        node = operand.node
        if operand.stale:
            raise InputError(
                f"the result of {node.op} is overwritten in place through another view of it "
                f"after {layer_before(node)}; write the output activation out of place"
            )
        if node.linear_index is not None:
            return node, after[::-1]
        after.append(node)
        operand = _main_operand(node)
    raise InputError(DETOUR)


def make_steps(first: list[Node], second: list[Node]) -> tuple[Step, ...]:
    """The steps of a chain of operations that was seen in two batches of different size."""
    steps: list[Step] = []
    for node, again in zip(first, second, strict=True):
        steps += _TRANSLATE[node.op](node, again)
    return tuple(steps)


def added_bias(after: list[Node]) -> Tensor | None:
    """The sum of the constant vectors that are added right after the last linear operation."""
    constants = [operand.constant for node in after if (operand := _bias_operand(node)) is not None]
    vectors = [vector.detach().float().reshape(-1) for vector in constants if vector is not None]
    return torch.stack(vectors).sum(0) if vectors else None


def scaled_shape(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    """One shape for all batch sizes: a size that grows with the batch is negative, per image."""
    if len(first) != len(second):
        raise InputError("the generator takes another path for another number of images")
    return tuple(map(_scaled_size, first, second))


def _scaled_size(first: int, second: int) -> int:
    if first == second:
        return first
    if first * SECOND_BATCH != second * FIRST_BATCH:
        raise InputError("the generator's sizes change from sample to sample")
    return -(first // FIRST_BATCH)


def _main_operand(node: Node) -> Operand:
    """The operand that carries the image; refuses what has none or cannot be undone."""
    operands = node.operands()
    if node.op not in _TRANSLATE:
        raise InputError(unsupported(node))
    if not node.floating:
        raise InputError(
            f"the output is turned into whole numbers after {layer_before(node)}; "
            "let the generator return floating point"
        )
    main = [o for o in operands if o.value is None] or operands
    if node.op in _ARITHMETIC and len(main) > 1:
        aside = _bias_operand(node) or _skip_operand(node)
        if aside is None:
            raise InputError(branches(node, main))
        main = [operand for operand in main if operand is not aside]
    if math.prod(main[0].shape) != math.prod(node.shape):
        raise InputError(
            f"{node.op} after {layer_before(node)} drops or repeats part of the output "
            f"({text(main[0].shape)} -> {text(node.shape)}); let the layer make the image only"
        )
    return main[0]


def _bias_operand(node: Node) -> Operand | None:
    """The constant of an addition that is a bias of the linear operation just before it.

    For a dense layer: one number per output, along the last axis; for a convolution one per
    channel.  Reshapes in between are allowed if they keep that axis.
    """
    operands = [operand for operand in node.operands() if operand.value is None]
    constants = [o for o in operands if o.constant is not None and not o.varies]
    if node.op != "add" or len(operands) != 2 or len(constants) != 1 or node.args["alpha"] != 1:
        return None
    bias, main = constants[0], next(o for o in operands if o is not constants[0])
    maker = main.node
    while maker is not None and maker.op in _SAME_VALUES and maker.shape[-1] == main.shape[-1]:
        maker = maker.operands()[0].node
    if maker is None or maker.linear_index is None or main.shape != node.shape:
        return None
    if maker.op == "convolution" and maker is not main.node:
        return None
    axis = 1 if maker.op == "convolution" else len(main.shape) - 1
    expected = [size if place == axis else 1 for place, size in enumerate(main.shape)]
    padded = [1] * (len(main.shape) - len(bias.shape)) + list(bias.shape)
    return bias if padded == expected else None


def skip_place(after: list[Node]) -> tuple[int, int] | None:
    """Where a skip connection joins the last layer: number of the addition, operand of the skip."""
    for node in after:
        skip = _skip_operand(node)
        if skip is not None and node.sum_index is not None:
            return node.sum_index, 0 if node.args["self"] is skip else 1
    return None


def _skip_operand(node: Node) -> Operand | None:
    """The operand that is added, image by image, to the last linear operation (and its bias).

    Of two linear operations that are added to each other the later one is the last.
    """
    if node.op != "add" or node.args["alpha"] != 1:
        return None
    both = [node.args["self"], node.args["other"]]
    if not all(isinstance(o, Operand) and o.varies and o.shape == node.shape for o in both):
        return None
    linear = [_linear_maker(operand) for operand in both]
    known = [maker.index for maker in linear if maker is not None]
    if not known:
        return None
    last = next(i for i, maker in enumerate(linear) if maker and maker.index == max(known))
    skip: Operand = both[1 - last]
    if skip.node is None or linear_before(skip.node) is None:
        return None  # noise
    of_itself = any(node is linear[last] for node in chain([skip.node], skip.node.ancestors()))
    return None if of_itself else skip


def _linear_maker(operand: Operand) -> Node | None:
    """The linear operation that made an operand, directly or before its bias was added."""
    node = operand.node
    if node is not None and (bias := _bias_operand(node)) is not None:
        node = next(o for o in node.operands() if o is not bias and o.value is None).node
    return node if node is not None and node.linear_index is not None else None


def _same_values(first: Node, second: Node) -> list[Step]:
    before = scaled_shape(_main_operand(first).shape, _main_operand(second).shape)
    after = scaled_shape(first.shape, second.shape)
    return [] if before == after else [Reshape(before, after)]


def _pixel_shuffle(first: Node, second: Node) -> list[Step]:
    r = int(first.args["upscale_factor"])
    before = scaled_shape(_main_operand(first).shape, _main_operand(second).shape)
    if len(before) != 4:
        raise InputError(f"pixel_shuffle of {len(before)} axes is not supported, expected 4")
    n, c, h, w = before
    apart, together = (n, c // r**2, r, r, h, w), (n, c // r**2, h, r, w, r)
    after = scaled_shape(first.shape, second.shape)
    return [Reshape(before, apart), Permute((0, 1, 4, 2, 5, 3)), Reshape(together, after)]


def _permute(first: Node, second: Node) -> list[Step]:
    axes = list(range(len(first.shape)))
    if first.op == "permute":
        return [Permute(tuple(dim % len(axes) for dim in first.args["dims"]))]
    a, b = (0, 1) if first.op == "t" else (first.args["dim0"], first.args["dim1"])
    axes[a], axes[b] = axes[b], axes[a]
    return [Permute(tuple(axes))]


def _clamp(first: Node, second: Node) -> list[Step]:
    names = ("min_val", "max_val") if first.op == "hardtanh" else ("min", "max")
    low, high = (_number(first.args[name]) for name in names)
    if low is None or high is None:
        raise InputError(unsupported(first))
    if (low, high) != tuple(_number(second.args[name]) for name in names):
        raise InputError(changing(first))
    return [Clamp(low, high)]


def _arithmetic(first: Node, second: Node) -> list[Step]:
    if _bias_operand(first) is not None or _skip_operand(first) is not None:
        return []
    step = _affine(first)
    if step != _affine(second):
        raise InputError(changing(first))
    return [step]


def _affine(node: Node) -> Affine:
    """scale and shift of `node` as a function of the operand that carries the image."""
    a, b = (_number(node.args.get(name)) for name in ("self", "other"))
    alpha = _number(node.args.get("alpha", 1))
    if node.args.get("rounding_mode") is not None or (node.op == "div" and a is not None):
        raise InputError(unsupported(node))
    alpha = 1.0 if alpha is None else alpha
    number = a if b is None else b
    on_left = b is not None
    if node.op == "neg" or number is None:
        return Affine(-1.0, 0.0)
    scale, shift = {
        "add": (1.0, alpha * number) if on_left else (alpha, number),
        "sub": (1.0, -alpha * number) if on_left else (-alpha, number),
        "rsub": (-alpha, number) if on_left else (1.0, -alpha * number),
        "mul": (number, 0.0),
        "div": (1 / number if number else math.nan, 0.0),
    }[node.op]
    if scale == 0 or not (math.isfinite(scale) and math.isfinite(shift)):
        raise InputError(f"{node.op} by {number:g} after {layer_before(node)} cannot be undone")
    return Affine(scale, shift)


_TRANSLATE: dict[str, Callable[[Node, Node], list[Step]]] = {
    **dict.fromkeys(_SAME_VALUES, _same_values),
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    **dict.fromkeys(("permute", "transpose", "t"), _permute),
    **dict.fromkeys(("clamp", "hardtanh"), _clamp),
    "pixel_shuffle": _pixel_shuffle,
    "flip": lambda first, _: [Flip(tuple(d % len(first.shape) for d in first.args["dims"]))],
    "tanh": lambda *_: [Tanh()],
    "sigmoid": lambda *_: [Sigmoid()],
}


def _number(value: Any) -> float | None:
    if isinstance(value, Operand):
        return value.value
    return float(value) if isinstance(value, int | float) else None
