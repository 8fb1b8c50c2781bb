"""A random CLIP of 32-px pictures, so that tests do not depend on the trained judge."""

import torch
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

LETTERS = [chr(c) for c in range(97, 123)]


def save_judge(folder, *, seed=1):
    """Save it in half precision, as the shipped one is: features of width 24, projected to 12, a token a letter."""
    vocab = LETTERS + [c + "</w>" for c in LETTERS] + ["<|startoftext|>", "<|endoftext|>"]
    words = CLIPTokenizer(vocab={t: i for i, t in enumerate(vocab)}, merges=[], model_max_length=16)
    small = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(seed)
    special = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id,
               "pad_token_id": words.pad_token_id}  # fmt: skip
    text = {**small, **special, "hidden_size": 16, "vocab_size": len(words), "max_position_embeddings": 16}
    vision = {**small, "hidden_size": 24, "image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    model.half().save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image_processor=images, tokenizer=words).save_pretrained(folder)
    return folder
