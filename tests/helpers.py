"""A tiny pipeline with random weights, so that tests do not depend on the trained ones, and an oracle in its place."""

import functools
import zipfile

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

diffusers.utils.logging.set_verbosity_error()
transformers.utils.logging.set_verbosity_error()

LETTERS = [chr(c) for c in range(97, 123)]


def tokenizer(length=24):
    """One token a letter; words of one letter need no merges."""
    vocabulary = LETTERS + [letter + "</w>" for letter in LETTERS] + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(vocabulary)}, merges=[], model_max_length=length)


def schedule(beta_end=0.012):
    return DDIMScheduler(
        beta_start=0.00085, beta_end=beta_end, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )


def build_pipeline(*, seed=0, sample_size=16, beta_end=0.012):
    """Pictures of 128 px, latents (4, 16, 16), f = 8, as the embedded model, with 0.2 M random weights."""
    torch.manual_seed(seed)
    words = tokenizer()
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=24, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    ))
    unet = UNet2DConditionModel(
        sample_size=sample_size, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=16,
        attention_head_dim=2, norm_num_groups=8, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=128,
        scaling_factor=0.9,
    )
    pipe = StableDiffusionPipeline(
        vae=vae.eval(), text_encoder=text.eval(), tokenizer=words, unet=unet.eval(), scheduler=schedule(beta_end),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@functools.cache
def shared_pipeline():
    """One pipeline for all tests that do not change it."""
    return build_pipeline()


def save_pipeline(folder, **options):
    build_pipeline(**options).to(torch.float16).save_pretrained(folder)
    return folder


class Oracle(torch.nn.Module):
    """Stands for the U-Net and knows the answer: `denoise(z, abar) -> eps`, with `abar` of the timestep asked for."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, pipe, denoise):
        super().__init__()
        self.config, self.denoise, self.calls = pipe.unet.config, denoise, []
        self.abar = pipe.scheduler.alphas_cumprod

    def forward(self, sample, timestep, **_):
        self.calls.append(sample.clone())
        t = float(timestep)
        low = int(t)
        high = min(low + 1, len(self.abar) - 1)
        # As the Karras-type samplers, interpolate between timesteps in log sigma.
        ratio = ((1 - self.abar) / self.abar).log()
        abar = 1 / (1 + (ratio[low] + (t - low) * (ratio[high] - ratio[low])).exp())
        return (self.denoise(sample, abar),)


def oracle_pipeline(denoise, **options):
    pipe = build_pipeline(**options)
    oracle = Oracle(pipe, denoise)
    pipe.unet = oracle
    return pipe


def images(n, *, size=128, seed=0):
    """`n` smooth random colour pictures."""
    noise = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    big = torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear")
    return [Image.fromarray((255 * x).byte().permute(1, 2, 0).numpy()) for x in big]


def image_folder(folder, n=6, *, size=128, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images(n, size=size, seed=seed)):
        image.save(folder / f"{i:03d}.png")
    return folder


def pickle_in_disguise(path):
    """A PyTorch zip archive under a safetensors name; unpickling it would raise `Exploded`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"c__main__\nExploded\n(tR.")
    return path


