"""Diffusers pipelines with random weights and a vocabulary of bytes, small enough for a test."""

import json

import torch

STAGES = (8, 16)  # two stages: the latents have half the side of the image
WIDTH = 16  # of the text encoder


def write_tokenizer(folder):
    """A CLIP tokenizer whose words are single letters, and how many words it has."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: index for index, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    made = CLIPTokenizer(str(vocabulary), str(merges), model_max_length=16)
    return made, len(words)


def parts(scratch, *, image_channels, seed):
    """The components of a Stable Diffusion pipeline; `image_channels` joins the latents' own 4."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    tokenizer, words = write_tokenizer(scratch)
    text = CLIPTextConfig(
        vocab_size=words,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=4 + image_channels,
        block_out_channels=STAGES,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=STAGES,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )
    return {
        "vae": vae,
        "text_encoder": CLIPTextModel(text),
        "tokenizer": tokenizer,
        "unet": unet,
        "scheduler": diffusers.DDPMScheduler(steps_offset=1, clip_sample=False),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def write_stable_diffusion(folder, *, seed=0):
    """A text-to-image pipeline in `folder`, as models are published; it loads as img2img."""
    import diffusers

    scratch = folder.parent / f"{folder.name}-words"
    made = diffusers.StableDiffusionPipeline(**parts(scratch, image_channels=0, seed=seed))
    made.save_pretrained(folder)
    return folder


def write_instruct(folder, *, seed=0):
    """An InstructPix2Pix pipeline in `folder`."""
    import diffusers

    scratch = folder.parent / f"{folder.name}-words"
    found = parts(scratch, image_channels=4, seed=seed)
    diffusers.StableDiffusionInstructPix2PixPipeline(**found).save_pretrained(folder)
    return folder


def write_adapter(folder, pipe, *, seed=0):
    """An IP-Adapter for a pipeline, with its image encoder, as such adapters are published."""
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
        projection_dim=WIDTH,
    )
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image_encoder")
    tokens = {"weight": torch.randn(4 * WIDTH, WIDTH), "bias": torch.randn(4 * WIDTH)}
    norm = {"weight": torch.ones(WIDTH), "bias": torch.zeros(WIDTH)}
    state = {f"image_proj.proj.{name}": value for name, value in tokens.items()}
    state |= {f"image_proj.norm.{name}": value for name, value in norm.items()}
    attention = [name for name in pipe.unet.attn_processors if ".attn2." in name]
    for place in range(len(attention)):
        for letter in "kv":
            to = torch.randn(STAGES[-1], WIDTH)
            state[f"ip_adapter.{2 * place + 1}.to_{letter}_ip.weight"] = to
    save_file(state, folder / "tiny-ip.safetensors")
    return folder


def write_photos(folder, count, *, side=40):
    """`count` random photos of unequal sides in `folder`, sorted by name."""
    from wherefrom.data.images.writing import save_png

    folder.mkdir()
    rng = torch.Generator().manual_seed(7)
    paths = [folder / f"photo-{index}.png" for index in range(count)]
    for path in paths:
        save_png(torch.randint(256, (3, side, side + 8), generator=rng, dtype=torch.uint8), path)
    return paths
