"""Model, seed and prompt, read from what image generators write into a file.

A1111 and Forge write lines of text, node graphs (ComfyUI) and the other web interfaces JSON with
names of their own.  Anybody can write all of it, so it proves nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Field = tuple[str, str]

MAX_FIELDS, MAX_NODES, MAX_DEPTH, MAX_VALUES = 24, 20_000, 6, 20_000
MAX_LINKS, MAX_STEPS = 32, 200  # texts that are looked for, nodes on the way to each
# One word for what every program calls otherwise, in the order in which they are shown.
NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "positive_prompt", "positiveprompt", "base_caption", "full_prompt", "c"),
    "negative prompt": ("negative_prompt", "negativeprompt", "uc", "negative"),
    "model": (
        "model", "base_model", "model_name", "modelname", "model_weights", "ckpt_name", "ckpt",
        "unet_name", "checkpoint", "sd_model_name", "use_stable_diffusion_model", "base_model_name",
    ),
    "model hash": ("model_hash", "base_model_hash", "sd_model_hash", "modelhash"),
    "seed": ("seed", "noise_seed", "initial_seed", "rand_seed"),
    "LoRA": ("loras", "lora_name", "lora", "lora_hashes"),
    "steps": ("steps", "num_inference_steps"),
    "sampler": ("sampler", "sampler_name"),
    "guidance": ("cfg_scale", "cfgscale", "guidance_scale", "cfg", "scale"),
    "size": ("size", "resolution"),
    "program": ("swarm_version", "app_version", "version", "metadata_scheme", "app"),
}  # fmt: skip
_KNOWN = {alias: name for name, aliases in NAMES.items() for alias in aliases}
_INNER = ("name", "model_name", "key", "prompt", "text", "base_caption", "value")
_PAIR = re.compile(r'\s*([A-Za-z][\w \-/]{0,60}):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
_STEPS = re.compile(r"^Steps: \d+", re.MULTILINE)
_NEGATIVE = "\nNegative prompt: "
# In JSON that is cut or damaged: the first strings and numbers of these names.
_CUT = re.compile(
    r'"(seed|noise_seed|ckpt_name|unet_name|text|positive_prompt|prompt)"\s*:\s*'
    r'(-?\d{1,25}|"(?:\\.|[^"\\]){1,2000}")'
)
_DREAM = re.compile(r'"([^"]{1,4000})"(?:.{0,400}?\s-S\s?(\d{1,20}))?', re.DOTALL)
_LINKED = {"positive": "prompt", "negative": "negative prompt"}
_GUIDED = {"conditioning": "prompt"}  # of guiders, which know one side
_NO_TEXT = "ConditioningZeroOut"  # its text has no effect
_JOINED = ("string_a", "string_b", "text_a", "text_b", "text_c", "text_d", "text1", "text2")
_CIVITAI = "Civitai resources: "
_TEXTS = (
    "text", "text_g", "text_l", "t5xxl", "clip_l", "prompt", "string", "value", "wildcard_text",
)  # fmt: skip


def read_generation(keyword: str, text: str) -> tuple[str, list[Field]]:
    """Which program's format a text is in, and its fields; ("", []) for other text.

    `keyword` is the name that the text has in the file, as `parameters` or `workflow`.
    """
    text = text.strip()
    prefix, _, rest = text.partition(":")
    if prefix.lower() in ("prompt", "workflow") and rest.lstrip().startswith("{"):
        keyword, text = prefix.lower(), rest.strip()  # ComfyUI in the EXIF of a WebP file
    if text[:1] in "{[" and text:
        return _read_json(keyword, text)
    if _STEPS.search(text):
        return "A1111 or Forge", _limited(_read_lines(text))
    if keyword.lower() == "dream" and (match := _DREAM.match(text)):
        return "InvokeAI", [("prompt", match[1]), *(("seed", s) for s in [match[2]] if s)]
    return "", []


def _read_lines(text: str) -> Iterator[Field]:
    """Prompt, negative prompt, and a line of `name: value` pairs behind them."""
    start = [match.start() for match in _STEPS.finditer(text)][-1]
    written, settings = text[:start], text[start:]
    prompt, _, negative = f"\n{written}".partition(_NEGATIVE)
    if prompt.strip():
        yield "prompt", prompt.strip()
    if negative.strip():
        yield "negative prompt", negative.strip()
    pairs: dict[str, str] = {}
    for match in _PAIR.finditer(settings.partition("\n")[0]):
        name = _KNOWN.get(_normalised(match[1]))
        if name is not None:
            pairs.setdefault(name, match[2].strip().strip('"'))
    yield from pairs.items()
    yield from _read_resources(settings.partition(_CIVITAI)[2])


def _read_resources(text: str) -> Iterator[Field]:
    """The models that civitai.com lists as JSON behind its settings."""
    try:
        listed = json.JSONDecoder().raw_decode(text)[0] if text else []
    except (ValueError, RecursionError):
        return
    for entry in listed[:MAX_VALUES] if isinstance(listed, list) else []:
        name = {"checkpoint": "model", "lora": "LoRA"}.get(str(_at(entry, "type")).lower())
        if name is not None:
            parts = (_shown(_at(entry, key)) for key in ("modelName", "modelVersionName"))
            yield name, " ".join(filter(None, parts))


def read_separate(texts: Mapping[str, str]) -> tuple[str, list[Field]]:
    """The fields of a program that writes each into a text of its own, as Easy Diffusion does.

    `texts` by their names; ("", []) without a prompt and a seed or model beside it.
    """
    fields = _limited(_known({key: text for key, text in texts.items() if text[:1] not in "{["}))
    names = {name for name, _ in fields}
    is_complete = "prompt" in names and names & {"seed", "model"}
    return ("texts of their own", fields) if is_complete else ("", [])


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _read_json(keyword: str, text: str) -> tuple[str, list[Field]]:
    parsed = _parsed(text)
    if not parsed:
        return "cut or damaged JSON", _limited(_read_cut(text))
    (value,) = parsed
    if isinstance(value, dict) and isinstance(value.get("prompt"), dict):
        value = value["prompt"] if _is_graph(value["prompt"]) else value
    if isinstance(value, dict) and _is_graph(value):
        return "ComfyUI node graph", _limited(_read_graph(value))
    if isinstance(value, dict) and isinstance(value.get("nodes"), list):
        nodes = [*value["nodes"][:MAX_NODES], *_in_subgraphs(value.get("definitions"))]
        return "ComfyUI workflow", _limited(_read_workflow(nodes))
    fields = _limited(_read_names(value))
    if not any(name in ("prompt", "model", "seed") for name, _ in fields):
        return "", []
    return _program(keyword, value), fields


def _program(keyword: str, value: Any) -> str:
    names = set(value) if isinstance(value, dict) else set()
    keyword = keyword.lower()
    if "sui_image_params" in names:
        return "SwarmUI"
    if "invokeai" in keyword or keyword in ("sd-metadata", "dream"):
        return "InvokeAI"
    if {"uc", "prompt"} <= names or "v4_prompt" in names:
        return "NovelAI"
    if {"base_model", "metadata_scheme"} & names or "fooocus" in str(names).lower():
        return "Fooocus"
    if {"c", "uc"} <= names:
        return "Draw Things"
    return "JSON"


def _read_names(value: Any) -> Iterator[Field]:
    """Known names anywhere in nested JSON; the outermost comes first."""
    level, seen = [value], 0
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for node in level:
            seen += 1
            if seen > MAX_VALUES:
                return
            if isinstance(node, list):
                inner += node[:MAX_VALUES]
            elif isinstance(node, dict):
                yield from _known(node)
                inner += node.values()
            elif isinstance(node, str) and node.lstrip()[:1] == "{":  # JSON inside of JSON
                inner += _parsed(node)
        level = inner


def _known(value: Mapping[str, Any]) -> Iterator[Field]:
    is_short = "uc" in value  # `c` is a prompt only beside it
    for key, field in value.items():
        name = _KNOWN.get(_normalised(str(key)))
        shown = _shown(field) if name and (key != "c" or is_short) else ""
        if name and shown:
            yield name, shown


def _shown(value: Any) -> str:
    """A value on one line: text, a number, or what a nested value names."""
    if isinstance(value, str):
        return "" if value.lstrip()[:1] == "{" else value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return ", ".join(filter(None, map(_shown, value[:8])))
    if isinstance(value, dict):
        inner = (_shown(value[key]) for key in _INNER if key in value)
        return next(filter(None, inner), "")
    return ""


def _parsed(text: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        return []


def _is_graph(value: Mapping[str, Any]) -> bool:
    """Nodes by number, each with a class and inputs, as ComfyUI executes them."""
    return any(
        isinstance(node, dict) and "class_type" in node and "inputs" in node
        for node in list(value.values())[:MAX_NODES]
    )


def _read_graph(graph: Mapping[str, Any]) -> Iterator[Field]:
    """The texts that samplers are linked to, then models and seeds of all nodes."""
    kinds = {
        str(key): str(node.get("class_type", ""))
        for key, node in list(graph.items())[:MAX_NODES]
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
    }
    nodes = {key: {} if kinds[key] == _NO_TEXT else graph[key]["inputs"] for key in kinds}
    links = [
        (inputs[side], side, name)
        for key, inputs in nodes.items()
        for side, name in (_LINKED | (_GUIDED if "Guider" in kinds[key] else {})).items()
        if isinstance(inputs.get(side), list)
    ]
    followed = ((name, _follow(nodes, link, side)) for link, side, name in links[-MAX_LINKS:])
    linked = [(name, text) for name, text in followed if text]
    if not any(name == "prompt" for name, _ in linked):
        seen = set[str]()
        texts = (
            _text_of(nodes, inputs, "", seen)
            for key, inputs in nodes.items()
            if "TextEncode" in kinds[key] or "text" in inputs
        )
        linked += [("prompt", text) for text in texts if text]
    yield from linked
    for inputs in nodes.values():
        for key, value in inputs.items():
            name = _KNOWN.get(_normalised(str(key)))
            is_link = isinstance(value, list | dict)
            if name in ("model", "seed", "LoRA", "steps", "sampler", "guidance") and not is_link:
                yield name, _shown(value)


def _follow(
    nodes: Mapping[str, Mapping[str, Any]], link: Any, side: str, seen: set[str] | None = None
) -> str:
    """The text that a link leads to; nodes with both sides are passed on the same `side`.

    `seen`: the nodes that were looked at on the way, each of them once.
    """
    pending, seen = [link], set() if seen is None else seen
    while pending and len(seen) < MAX_STEPS:
        reference = pending.pop(0)
        if not (isinstance(reference, list) and reference and isinstance(reference[0], str | int)):
            continue
        key = str(reference[0])
        if key in seen or key not in nodes:
            continue
        seen.add(key)
        inputs = nodes[key]
        if text := _text_of(nodes, inputs, side, seen):
            return text
        links = [inputs[side]] if side in inputs else inputs.values()
        pending += [value for value in links if isinstance(value, list)]
    return ""


def _text_of(
    nodes: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Any], side: str, seen: set[str]
) -> str:
    """The text in a node, or the texts that it joins; empty for none."""
    for name in _TEXTS:
        text = inputs.get(name)
        if isinstance(text, str) and text.strip():
            return text.strip()
    parts: list[str] = []
    for name in _JOINED:
        part = inputs.get(name)
        if isinstance(part, list):
            part = _follow(nodes, part, side, seen)
        parts += [part.strip()] if isinstance(part, str) and part.strip() else []
    return " ".join(parts)


def _in_subgraphs(definitions: Any) -> Iterator[Any]:
    subgraphs = _at(definitions, "subgraphs")
    for subgraph in subgraphs[:MAX_NODES] if isinstance(subgraphs, list) else []:
        nodes = _at(subgraph, "nodes")
        yield from nodes[:MAX_NODES] if isinstance(nodes, list) else []


def _read_workflow(nodes: list[Any]) -> Iterator[Field]:
    """The graph as it is drawn: values without names, distinguished by the type of their node."""
    for node in nodes[:MAX_NODES]:
        if not isinstance(node, dict):
            continue
        kind, values = str(node.get("type", "")), node.get("widgets_values")
        if isinstance(values, dict):  # widgets by their names
            yield from _known(values)
            values = [values.get("text") or values.get("prompt")]
        first = values[0] if isinstance(values, list) and values else values
        if "TextEncode" in kind and isinstance(values, list):
            # Several for several encoders; a single word behind them is a setting.
            texts = [v.strip() for v in values if isinstance(v, str) and v.strip()]
            for text in texts[:1] + [v for v in texts[1:] if " " in v]:
                yield "text of a node", text
        elif ("Checkpoint" in kind or "UNET" in kind.upper()) and isinstance(first, str):
            yield "model", first
        elif "Lora" in kind and isinstance(first, str):
            yield "LoRA", first
        elif "KSampler" in kind or "Noise" in kind:
            numbers = values if isinstance(values, list) else []
            seeds = [str(v) for v in numbers if isinstance(v, int) and not isinstance(v, bool)]
            if seeds:
                yield "seed", seeds[0]


def _read_cut(text: str) -> Iterator[Field]:
    for match in _CUT.finditer(text[: 2**20]):
        name = _KNOWN.get(match[1], "prompt")
        yield name, match[2].strip('"').replace("\\n", " ").replace('\\"', '"')


def _limited(fields: Iterator[Field]) -> list[Field]:
    """At most four different values of each name, in the order of `NAMES`."""
    by_name: dict[str, dict[str, None]] = {}
    for number, (name, value) in enumerate(fields):
        if number > MAX_VALUES:
            break
        values = by_name.setdefault(name, {})
        if value and len(values) < 4:
            values[value] = None
    order = {name: place for place, name in enumerate(NAMES)}
    names = sorted(by_name, key=lambda name: order.get(name, len(order)))
    return [(name, value) for name in names for value in by_name[name]][:MAX_FIELDS]


def _normalised(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
