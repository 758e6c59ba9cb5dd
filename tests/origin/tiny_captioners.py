"""Captioners with random weights and a vocabulary of letters, small enough for a test."""

import torch
from tiny_pipelines import WIDTH

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{n}" for n in range(40))]
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
TEXT = {
    **{k: VISION[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers")},
    "num_attention_heads": 2,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 64,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "sep_token_id": 3,
    "pad_token_id": 0,
}


def make_blip():
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor

    config = BlipConfig(
        text_config={**TEXT, "encoder_hidden_size": WIDTH, "projection_dim": WIDTH},
        vision_config=VISION,
        projection_dim=WIDTH,
    )
    return BlipForConditionalGeneration(config), BlipImageProcessor(
        size={"height": 16, "width": 16}
    )


def make_git():
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM

    config = GitConfig(vision_config=VISION, **TEXT)
    return GitForCausalLM(config), CLIPImageProcessor(size=16, crop_size=16)


def make_vit_bert():
    from transformers import (
        BertConfig,
        BertLMHeadModel,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
        ViTModel,
    )

    decoder = BertConfig(**TEXT, is_decoder=True, add_cross_attention=True)
    model = VisionEncoderDecoderModel(
        encoder=ViTModel(ViTConfig(**VISION)), decoder=BertLMHeadModel(decoder)
    )
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    return model, ViTImageProcessor(size={"height": 16, "width": 16})


MAKERS = {"blip": make_blip, "git": make_git, "vision-encoder-decoder": make_vit_bert}


def write_captioner(folder, kind, *, seed=0):
    """A captioner in `folder`, its folder as transformers publishes them."""
    from transformers import BertTokenizer

    torch.manual_seed(seed)
    model, processor = MAKERS[kind]()
    with torch.no_grad():  # far from 0, so that different pictures get different words
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
