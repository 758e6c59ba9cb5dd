"""Generation parameters in node graphs as people build them, and in texts of their own."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from wherefrom.case.claims.generation import read_generation
from wherefrom.case.claims.reading import read_claims
from wherefrom.case.claims.text import decode_text

Node = dict[str, Any]


def node(kind: str, **inputs: Any) -> Node:
    return {"class_type": kind, "inputs": inputs}


def fields(keyword: str, value: Any) -> list[tuple[str, str]]:
    return read_generation(keyword, value if isinstance(value, str) else json.dumps(value))[1]


SAMPLED = {
    "3": node("KSampler", seed=5, positive=["6", 0], negative=["7", 0]),
    "6": node("CLIPTextEncode", text=["9", 0]),
    "7": node("CLIPTextEncode", text="blurry"),
}
GUIDED = {
    "1": node("UNETLoader", unet_name="flux.safetensors"),
    "3": node("BasicGuider", model=["1", 0], conditioning=["6", 0]),
    "4": node("RandomNoise", noise_seed=5),
    "5": node("SamplerCustomAdvanced", noise=["4", 0], guider=["3", 0]),
}


@pytest.mark.parametrize(
    "graph",
    [
        GUIDED | {"6": node("CLIPTextEncodeFlux", t5xxl="a red fox", clip_l="fox")},
        GUIDED
        | {
            "6": node("CLIPTextEncode", text=["9", 0]),
            "9": node("PrimitiveString", value="a red fox"),
        },
        GUIDED
        | {
            "6": node("FluxGuidance", conditioning=["8", 0]),
            "8": node("CLIPTextEncode", text="a red fox"),
        },
        SAMPLED | {"9": node("StringConcatenate", string_a="a red", string_b="fox", delimiter=" ")},
        SAMPLED
        | {
            "9": node("Text Concatenate", text_a=["10", 0], text_b="fox"),
            "10": node("PrimitiveString", value="a red"),
        },
        {"6": node("CLIPTextEncodeFlux", t5xxl="a red fox", clip_l="fox")},
    ],
)
def test_the_prompt_of_a_graph_is_found_whatever_leads_to_it__closed_form(
    graph: Mapping[str, Node],
) -> None:
    assert ("prompt", "a red fox") in fields("prompt", graph)


def test_a_side_that_is_zeroed_out_has_no_text__closed_form() -> None:
    zero = {"7": node("ConditioningZeroOut", conditioning=["6", 0])}
    graph = SAMPLED | {"9": node("PrimitiveString", value="a red fox")} | zero
    assert [name for name, _ in fields("prompt", graph)] == ["prompt", "seed"]


def test_texts_that_join_themselves_end__limit() -> None:
    names = ("text_a", "text_b", "text_c", "text_d", "text1", "text2")
    knot = {
        str(i): node("Join", **{n: [str((i * 7 + k) % 40), 0] for k, n in enumerate(names)})
        for i in range(40)
    }
    samplers = {f"s{i}": node("KSampler", positive=[str(i % 40), 0]) for i in range(40)}
    assert fields("prompt", knot | samplers) == []


@pytest.mark.parametrize(
    "workflow",
    [
        {
            "nodes": [{"type": "1f0c", "widgets_values": []}],
            "definitions": {
                "subgraphs": [
                    {
                        "id": "1f0c",
                        "nodes": [
                            {"type": "CheckpointLoaderSimple", "widgets_values": ["dream"]},
                            {"type": "CLIPTextEncode", "widgets_values": ["a red fox"]},
                            {"type": "KSampler", "widgets_values": [42, "fixed"]},
                        ],
                    }
                ]
            },
        },
        {
            "nodes": [
                {"type": "CheckpointLoaderSimple", "widgets_values": {"ckpt_name": "dream"}},
                {"type": "CLIPTextEncode", "widgets_values": {"text": "a red fox"}},
                {"type": "KSampler", "widgets_values": {"seed": 42}},
            ]
        },
        {
            "nodes": [
                {"type": "UNETLoader", "widgets_values": ["dream", "default"]},
                {"type": "CLIPTextEncodeSDXL", "widgets_values": [1024, 0, "a red fox", "none"]},
                {"type": "RandomNoise", "widgets_values": [42]},
            ]
        },
    ],
)
def test_workflows_keep_values_in_subgraphs_and_by_name__closed_form(workflow: Any) -> None:
    assert fields("workflow", workflow) == [
        ("model", "dream"),
        ("seed", "42"),
        ("text of a node", "a red fox"),
    ]


def test_the_models_that_civitai_lists_are_shown__closed_form() -> None:
    resources = [
        {"type": "checkpoint", "modelName": "Dream", "modelVersionName": "v8"},
        {"type": "lora", "weight": 0.8, "modelName": "Fur", "modelVersionName": "v1"},
        7,
    ]
    listed = json.dumps(resources)
    text = f"a fox\nSteps: 30, Seed: 7, Civitai resources: {listed}, Civitai metadata: {{}}"
    pairs = fields("parameters", text)
    assert ("model", "Dream v8") in pairs
    assert ("LoRA", "Fur v1") in pairs
    assert ("seed", "7") in fields("parameters", text[:90])  # cut inside of the JSON


def test_fields_in_texts_of_their_own_are_parameters__closed_form() -> None:
    info = PngImagePlugin.PngInfo()
    for name, text in (
        ("prompt", "a red fox"),
        ("seed", "42"),
        ("use_stable_diffusion_model", "sd"),
    ):
        info.add_text(name, text)
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG", pnginfo=info)
    claims = read_claims(buffer.getvalue(), "PNG")[0]
    pairs = [(c.name, c.text) for c in claims if c.source.startswith("generation")]
    assert pairs == [("prompt", "a red fox"), ("model", "sd"), ("seed", "42")]


@pytest.mark.parametrize("text", ["Grüße", "café", "Böö", "ß", "naïve té"])
def test_latin_text_is_whole_however_it_ends__roundtrip(text: str) -> None:
    assert decode_text(text.encode("latin-1")) == text
    assert decode_text(text.encode()) == text


def test_a_long_text_that_is_cut_inside_a_letter_stays_utf8__closed_form() -> None:
    assert decode_text("über 雪".encode()[:-1]) == "über"
    assert decode_text(b"x" * 500 + "é".encode()[:1]) == "x" * 500
