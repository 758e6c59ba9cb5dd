"""Why a generator's output cannot be traced back to its last linear layer, in one line each."""

from __future__ import annotations

from itertools import chain

from wherefrom.generators.last_layer.tracing import LINEAR_OPS, Node, Operand

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
