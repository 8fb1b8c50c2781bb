"""Images to latents and back; white noise."""

import numpy as np
import pytest
import torch
from helpers import build_pipeline, images, shared_pipeline

from dislib.core.latents import blob, checkerboard, decode, encode, encode_batches, white_noise
from dislib.errors import DislibError, ImageError, ModelError


def test_encode_is_the_mode_times_the_scaling_factor():
    pipe, pictures = shared_pipeline(), images(3)
    pixels = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures]) / 127.5 - 1
    with torch.no_grad():
        expected = pipe.vae.encode(pixels).latent_dist.mode() * 0.9
    latents = encode(pipe, pictures, batch_size=2)
    assert latents.shape == (3, 4, 16, 16) and latents.dtype == torch.float32
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-4)


def test_decode_is_the_pipelines_own():
    pipe, z = shared_pipeline(), white_noise(range(3), (4, 16, 16))
    with torch.no_grad():
        pixels = pipe.vae.decode(z / 0.9).sample
    expected = pipe.image_processor.postprocess(pixels, output_type="pil")
    for ours, theirs in zip(decode(pipe, z, batch_size=2), expected):
        assert ours.mode == "RGB" and ours.size == (128, 128)
        assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs)).max() <= 1


def test_one_latent_decodes_to_one_image():
    assert len(decode(shared_pipeline(), torch.zeros(4, 16, 16))) == 1


def test_encode_takes_any_iterable_one_batch_at_a_time():
    taken = []
    pictures = (taken.append(i) or image for i, image in enumerate(images(5)))
    batches = encode_batches(shared_pipeline(), pictures, batch_size=2)
    assert len(next(batches)) == 2 and taken == [0, 1]
    assert [len(batch) for batch in batches] == [2, 1]


def test_wrong_size_names_the_image_and_the_mend():
    with pytest.raises(ImageError, match=r"image 1 is 64 x 64 px .* 128 x 128; use prepare_image"):
        encode(shared_pipeline(), [*images(1), *images(1, size=64)])


def test_no_images():
    with pytest.raises(ImageError, match="no images to encode"):
        encode(shared_pipeline(), [])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_refused(value):
    z = torch.zeros(2, 4, 16, 16)
    z[1, 2, 3, 4] = value
    with pytest.raises(DislibError, match=r"1 values that are NaN or infinite, the first at index \(1, 2, 3, 4\)"):
        decode(shared_pipeline(), z)


@pytest.mark.parametrize("dtype, mend", [
    (torch.bfloat16, "set pipe.vae.to"), (torch.float32, ".*the model's files are broken: get them again")])
def test_an_overflowing_vae_is_explained(dtype, mend):
    pipe = build_pipeline()
    pipe.vae.to(dtype)
    pipe.vae.decoder.conv_in.weight.data.fill_(float("inf"))
    pipe.vae.encoder.conv_in.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match=f"black pictures; {mend}"):
        decode(pipe, torch.ones(1, 4, 16, 16))
    with pytest.raises(ModelError, match=f"overflowed while encoding .* black pictures; {mend}"):
        encode(pipe, images(1))


def test_white_noise_is_one_draw_an_image_of_torchs_own_generator():
    noise = white_noise([5, 0], (4, 16, 16))
    assert torch.equal(noise[0], torch.randn(4, 16, 16, generator=torch.Generator("cpu").manual_seed(5)))
    assert torch.equal(noise[1:], white_noise([0], (4, 16, 16)))


@pytest.mark.parametrize("seeds, words", [
    ([], "no seeds"), (3, "must be a list of whole numbers"), (["1"], "must be a list of whole numbers"),
    ([1.5], "must be a list of whole numbers"), ([-1], "seed -1 is out of range"), ([2**63], "out of range")])
def test_seeds_that_are_wrong(seeds, words):
    with pytest.raises(DislibError, match=words):
        white_noise(seeds, (4, 16, 16))


def test_numpy_seeds_are_fine():
    assert torch.equal(white_noise(np.arange(2), (4, 2, 2)), white_noise(range(2), (4, 2, 2)))


def test_a_blob_is_one_in_its_middle_and_lies_where_it_should():
    bump = blob((4, 16, 32), 0.25, 0.75, radius=0.1)
    assert bump.shape == (16, 32) and bump.dtype == torch.float32
    rows, columns = ((torch.arange(n) + 0.5) / n for n in bump.shape)
    assert bump.max() == pytest.approx(1, abs=0.07)
    assert (bump.sum(0) @ columns / bump.sum()).item() == pytest.approx(0.25, abs=0.01)
    assert (bump.sum(1) @ rows / bump.sum()).item() == pytest.approx(0.75, abs=0.01)


def test_half_a_blobs_height_lies_1_18_radii_away():
    bump = blob((64, 64), 0.5 + 0.5 / 64, 0.5 + 0.5 / 64, radius=10 / 64)
    assert bump[32, 32] == 1 and bump[32, 32 + 12] == pytest.approx(np.exp(-0.72), abs=1e-6)


@pytest.mark.parametrize("radius", [0, -1.0, float("nan")])
def test_a_blob_without_extent_is_refused(radius):
    with pytest.raises(DislibError, match="radius of a blob .* above 0"):
        blob((4, 16, 16), 0.5, 0.5, radius=radius)


def test_a_checkerboard_has_the_energy_of_a_constant_and_none_of_its_mean():
    board = checkerboard((4, 16, 16))
    assert board.shape == (16, 16) and board.mean() == 0 and (board**2).mean() == 1
    assert torch.equal(board[1:], -board[:-1]) and torch.equal(board[:, 1:], -board[:, :-1])
