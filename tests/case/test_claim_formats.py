"""What generators, editors and cameras write into files, shown as claims in legible words."""

from __future__ import annotations

import io
import json
import time
import zlib

import pytest
from PIL import Image, PngImagePlugin

from wherefrom.case.claims.generation import read_generation
from wherefrom.case.claims.reading import MAX_CLAIMS, read_claims
from wherefrom.case.claims.text import decode_comment, decode_text, decode_wide

LINES = (
    "a red fox, 雪, “quoted”\nsecond line\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, "
    'CFG scale: 7, Seed: 1234567890, Size: 512x512, Model hash: abcdef, Model: "my, model", '
    "Version: f2.0.1"
)
GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
    "4": {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["2", 0], "negative": ["3", 0], "strength": 1.0},
    },
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 42, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "model": ["1", 0],
            "positive": ["4", 0], "negative": ["4", 1],
        },
    },
}  # fmt: skip
WORKFLOW = {
    "nodes": [
        {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["dream.safetensors"]},
        {"id": 2, "type": "CLIPTextEncode", "widgets_values": ["a red fox"]},
        {"id": 3, "type": "KSampler", "widgets_values": [42, "randomize", 20, 7.0, "euler"]},
    ]
}
FOOOCUS = {
    "prompt": "a red fox", "negative_prompt": "blurry", "seed": "42", "steps": 30,
    "base_model": "dream.safetensors", "metadata_scheme": "fooocus", "version": "Fooocus v2.5.5",
}  # fmt: skip
NOVELAI = {
    "prompt": "a red fox", "uc": "blurry", "seed": 42, "steps": 28, "sampler": "k_euler",
    "v4_prompt": {"caption": {"base_caption": "a red fox"}},
}  # fmt: skip
INVOKE = {
    "positive_prompt": "a red fox", "negative_prompt": "blurry", "seed": 42, "steps": 30,
    "model": {"key": "8f", "name": "dream", "base": "sdxl"}, "app_version": "5.4.2",
}  # fmt: skip
INVOKE_OLD = {
    "model": "stable diffusion", "model_weights": "dream", "app_version": "2.3",
    "image": {"prompt": [{"prompt": "a red fox", "weight": 1.0}], "seed": 42},
}  # fmt: skip
SWARM = {
    "sui_image_params": {
        "prompt": "a red fox", "negativeprompt": "", "model": "dream", "seed": 42, "steps": 20,
        "cfgscale": 7.0, "swarm_version": "0.9.6",
    },
    "sui_extra_data": {"date": "2026-01-01"},
}  # fmt: skip
DRAW_THINGS = {"c": "a red fox", "uc": "blurry", "seed": 42, "model": "dream", "steps": 20}


def png(*, exif: bytes | None = None, after: bool = False, **texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text, zip=after)
    buffer = io.BytesIO()
    options = {} if exif is None else {"exif": exif}
    Image.new("RGB", (32, 32), "teal").save(buffer, format="PNG", pnginfo=info, **options)
    return buffer.getvalue()


def with_exif(kind: str, fields: dict[int, object], sub: dict[int, object] | None = None) -> bytes:
    exif = Image.Exif()
    for tag, value in fields.items():
        exif[tag] = value
    exif.get_ifd(0x8769).update(sub or {})
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format=kind, exif=exif)
    return buffer.getvalue()


def claimed(data: bytes, kind: str) -> dict[str, list[str]]:
    """Texts by name of the claims about a generation."""
    texts: dict[str, list[str]] = {}
    for claim in read_claims(data, kind)[0]:
        if claim.source.startswith("generation"):
            texts.setdefault(claim.name, []).append(claim.text)
    return texts


@pytest.mark.parametrize(
    ("keyword", "value", "program"),
    [
        ("prompt", GRAPH, "ComfyUI node graph"), ("workflow", WORKFLOW, "ComfyUI workflow"),
        ("parameters", FOOOCUS, "Fooocus"), ("parameters", SWARM, "SwarmUI"),
        ("invokeai_metadata", INVOKE, "InvokeAI"), ("sd-metadata", INVOKE_OLD, "InvokeAI"),
        ("Comment", NOVELAI, "NovelAI"), ("parameters", DRAW_THINGS, "Draw Things"),
        ("UserComment", {"prompt": GRAPH, "workflow": WORKFLOW}, "ComfyUI node graph"),
        ("extra", {"outer": {"meta": json.dumps(FOOOCUS)}}, "JSON"),
    ],
)  # fmt: skip
def test_parameters_of_every_program_are_read__closed_form(keyword, value, program):
    found, fields = read_generation(keyword, json.dumps(value))
    values: dict[str, list[str]] = {}
    for name, text in fields:
        values.setdefault(name, []).append(text)
    assert found == program
    assert "a red fox" in values.get("prompt", values.get("text of a node", []))
    assert values["seed"] == ["42"]
    assert any(text.startswith(("dream", "stable")) for text in values.get("model", ["dream"]))
    assert "blurry" not in values["prompt"] if "prompt" in values else True


def test_lines_of_a1111_are_read__closed_form():
    program, fields = read_generation("parameters", LINES)
    values = dict(fields)
    assert program == "A1111 or Forge"
    assert values["prompt"] == "a red fox, 雪, “quoted”\nsecond line"
    assert values["negative prompt"] == "blurry"
    assert (values["seed"], values["model"]) == ("1234567890", "my, model")
    assert read_generation("Dream", '"a red fox" -s 50 -S 42 -W512')[1][1] == ("seed", "42")


@pytest.mark.parametrize("text", ["just words", "{}", "[1, 2", '{"a": 1}', "Steps to the sea"])
def test_other_text_is_no_generation__rejects_text(text):
    assert read_generation("Comment", text)[1] == []


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("text", [LINES, "夕焼けの海辺を歩く赤い狐、とても綺麗", "лиса в снегу"])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "PNG"])
def test_user_comments_of_either_byte_order_are_legible__roundtrip(kind, text, encoding):
    comment = b"UNICODE\0" + text.encode(encoding)
    data = with_exif(kind, {0x0131: "x"}, {0x9286: comment})
    (claim,) = [c for c in read_claims(data, kind)[0] if c.name == "UserComment"]
    assert claim.text.split() == text.split()
    assert claimed(data, kind).get("seed") == (["1234567890"] if text is LINES else None)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"ASCII\0\0\0a fox\0\0", "a fox"),
        (bytes(8) + "füchse".encode(), "füchse"),
        (b"JIS\0\0\0\0\0" + "狐".encode("iso2022_jp"), "狐"),
        (b"UNICODE\0" + b"said to be wide, is not", "said to be wide, is not"),
        (b"UNICODE\0\xff\xfe" + "狐".encode("utf-16-le"), "狐"),
        ("no prefix: füchse".encode(), "no prefix: füchse"),
        ("f\xfcchse".encode("latin-1"), "füchse"),
        (b"\xef\xbb\xbffox", "fox"),
        ("fox in UTF-32".encode("utf-32"), "fox in UTF-32"),
        ("a wide fox".encode("utf-16-be"), "a wide fox"),
    ],
)
def test_comments_of_every_encoding_are_legible__closed_form(raw, wanted):
    assert decode_comment(raw) == wanted


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_windows_fields_are_legible__roundtrip(encoding):
    data = with_exif("JPEG", {0x9C9C: ("ein Füchslein, 狐\0").encode(encoding)})
    assert "ein Füchslein, 狐" in [c.text for c in read_claims(data, "JPEG")[0]]


def test_graphs_in_the_exif_of_a_webp_file_are_read__closed_form():
    data = with_exif("WEBP", {0x010F: "workflow:{}", 0x0110: "prompt:" + json.dumps(GRAPH)})
    assert claimed(data, "WEBP")["seed"] == ["42"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize(
    "body",
    [
        '<x xmp:CreatorTool="Pinsel &amp; Co" Iptc4xmpExt:AISystemUsed="dream"/>',
        "<x><xmp:CreatorTool>Pinsel &amp; Co</xmp:CreatorTool>"
        "<Iptc4xmpExt:AISystemUsed>dream</Iptc4xmpExt:AISystemUsed></x>",
        "<x><xmp:CreatorTool><rdf:Seq><rdf:li xml:lang='de'>Pinsel &amp; Co</rdf:li></rdf:Seq>"
        "</xmp:CreatorTool><Iptc4xmpExt:AISystemUsed>dream</Iptc4xmpExt:AISystemUsed></x>",
    ],
)
def test_xmp_is_read_in_every_form__closed_form(body, encoding):
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="WEBP", xmp=mark + body.encode(encoding))
    texts = {c.name: c.text for c in read_claims(buffer.getvalue(), "WEBP")[0] if c.source == "XMP"}
    assert texts == {"CreatorTool": "Pinsel & Co", "AI system": "dream"}


def test_utf8_in_a_latin1_chunk_and_text_behind_the_pixels_are_legible__closed_form():
    info = PngImagePlugin.PngInfo()
    info.add(b"tEXt", b"Description\0" + "füchse".encode())
    info.add(b"zTXt", b"Comment\0\0" + zlib.compress("f\xfcchse".encode("latin-1")), True)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG", pnginfo=info)
    texts = {c.name: c.text for c in read_claims(buffer.getvalue(), "PNG")[0]}
    assert texts == {"Description": "füchse", "Comment": "füchse"}


def test_novelai_names_its_model_beside__closed_form():
    data = png(Software="NovelAI", Source="Diffusion 7", Comment=json.dumps(NOVELAI))
    assert claimed(data, "PNG")["model"] == ["Diffusion 7"]


@pytest.mark.parametrize("after", [False, True])
def test_the_start_of_a_huge_graph_is_shown__limit(after):
    graph = GRAPH | {str(i): {"class_type": "Note", "inputs": {"x": i}} for i in range(9, 5_000)}
    data = png(prompt=json.dumps(graph), after=after)
    claims, _ = read_claims(data, "PNG")
    assert claimed(data, "PNG")["prompt"] == ["a red fox"]
    assert any(c.name == "prompt" and c.text.startswith('{"1": {"class_type"') for c in claims)


def test_of_a_graph_that_is_cut_the_fields_are_found__limit():
    cut = png(prompt=json.dumps(GRAPH)[:-2] + ',"9":"' + "x" * 9 * 2**20, after=True)
    assert claimed(cut, "PNG")["seed"] == ["42"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, "Steps: 1, " + "a:" * 200_000,
        '{"seed": ' + "9" * 100_000 + "}", '{"prompt": "' + '\\"' * 300_000,
        json.dumps({str(i): {"class_type": "x", "inputs": {"positive": [str(i + 1), 0]}}
                    for i in range(3_000)}),
        "Steps: 1, a: " + '"\\' * 200_000, "\n".join(["Steps: 1"] * 50_000),
    ],
    ids=range(8),
)  # fmt: skip
def test_hostile_parameters_are_bounded_in_time__rejects_text(text):
    begun = time.process_time()
    claims, _ = read_claims(png(parameters=text, prompt=text, after=True), "PNG")
    assert len(claims) <= MAX_CLAIMS
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("decode", [decode_text, decode_wide, decode_comment])
def test_any_bytes_are_text__rejects_nothing(decode):
    for raw in (
        b"",
        b"\0",
        b"\xff",
        b"\xd8\x00" * 9,
        bytes(range(256)),
        b"\0\xd8" * 5,
        b"UNICODE\0",
    ):
        assert isinstance(decode(raw), str)
