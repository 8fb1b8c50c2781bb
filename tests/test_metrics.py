"""Metrics against closed forms, against torchmetrics, and against bad input; the judge on a small random CLIP."""

import importlib

import numpy as np
import pytest
import torch
from PIL import Image
from small_judge import save_judge

from dislib.errors import DislibError, ModelError
from dislib.evaluation.bands import block_bootstrap
from dislib.evaluation.judge import clip_scores, image_features, load_judge, text_features, zero_shot
from dislib.evaluation.metrics import FrechetStats, fid, kid, load_features, mmd, save_features


def gauss(n, mean, spread, *, rng=0):
    """Samples with *exactly* this mean and a diagonal covariance spread**2."""
    x = np.random.default_rng(rng).normal(size=(n, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x * spread + mean


def normal(n, d, *, shift=0.0, rng=0):
    return np.random.default_rng(rng).normal(size=(n, d)) + shift


def pictures(n, *, size=(48, 40), rng=0):
    rng = np.random.default_rng(rng)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(n)]


# --- FID ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [10, 200])  # fewer and more pictures than dimensions
def test_fid_of_a_set_with_itself_is_zero(n):
    x = normal(n, 32)
    assert fid(x, x) == pytest.approx(0, abs=1e-10)
    assert fid(FrechetStats.from_features(x), x) == pytest.approx(0, abs=1e-6)


def test_fid_of_gaussians_is_the_closed_form():
    a, b = np.array([1.0, 2.0, 0.5]), np.array([2.0, 1.0, 0.5])
    mean = np.array([1.0, 0.0, -2.0])
    expected = np.sum(mean**2) + np.sum((a - b) ** 2)
    x, y = gauss(50, np.zeros(3), a), gauss(80, mean, b, rng=1)
    assert fid(x, y) == pytest.approx(expected, rel=1e-9)
    assert fid(FrechetStats.from_features(x), FrechetStats.from_features(y)) == pytest.approx(expected, rel=1e-9)


def test_fid_of_constant_features_is_the_distance_of_the_constants():
    assert fid(np.zeros((5, 3)), np.ones((4, 3))) == pytest.approx(3)
    assert fid(np.ones((5, 3)), np.ones((4, 3))) == 0


def test_fid_of_fewer_pictures_than_dimensions_agrees_with_the_matrix_root():
    linalg = importlib.import_module("scipy.linalg")
    x, y = normal(20, 30), normal(25, 30, shift=0.3, rng=1) * 1.5
    a, b = (np.cov(z, rowvar=False) for z in (x, y))
    root = linalg.sqrtm(a @ b).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * root)
    assert fid(x, y) == pytest.approx(expected, rel=1e-4)  # the singular matrix root is the inexact one


def test_fid_sees_a_shift_and_is_symmetric():
    x, y = normal(300, 16), normal(200, 16, shift=0.5, rng=1)
    assert fid(x, y) == pytest.approx(fid(y, x), rel=1e-9)
    assert fid(x, y) > 5 * fid(x, normal(200, 16, rng=2))


class Identity(torch.nn.Module):
    """Lets torchmetrics take features for pictures."""

    def __init__(self, d):
        super().__init__()
        self.num_features = d

    def forward(self, x):
        return x


def theirs(metric, x, y):
    metric.update(torch.from_numpy(x), real=True)
    metric.update(torch.from_numpy(y), real=False)
    return metric.compute()


@pytest.mark.parametrize("n", [300, 900])
def test_fid_agrees_with_torchmetrics(n):
    image = importlib.import_module("torchmetrics.image.fid")
    x, y = normal(n, 128), normal(n + 40, 128, shift=0.1, rng=1) * 1.2
    expected = float(theirs(image.FrechetInceptionDistance(feature=Identity(128)).set_dtype(torch.float64), x, y))
    assert fid(x, y) == pytest.approx(expected, rel=1e-4)
    assert fid(FrechetStats.from_features(x), y) == pytest.approx(expected, rel=1e-4)


# --- KID and MMD ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kid_agrees_with_torchmetrics():
    image = importlib.import_module("torchmetrics.image.kid")
    x, y = normal(120, 64), normal(120, 64, shift=0.2, rng=1)
    metric = image.KernelInceptionDistance(feature=Identity(64), subsets=1, subset_size=120)
    assert kid(x, y) == pytest.approx(float(theirs(metric.set_dtype(torch.float64), x, y)[0]), rel=1e-4)


@pytest.mark.parametrize("distance", [kid, mmd])
def test_unbiased_distances_are_zero_on_average_at_any_n(distance):
    """The mean of many comparisons of small sets of one distribution is zero within its standard error."""
    for n in (4, 30):
        found = [distance(normal(n, 8, rng=2 * k), normal(n + 3, 8, rng=2 * k + 1)) for k in range(200)]
        assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    assert distance(normal(300, 8), normal(300, 8, shift=0.5, rng=1)) > 10 * abs(
        distance(normal(300, 8), normal(300, 8, rng=1)))


def test_kid_by_hand():
    x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 1.0], [1.0, 1.0]])
    # d = 2: k(x0, x1) = 1, k(y0, y1) = 2^3, k(x, y) = 1.5^3
    assert kid(x, y) == pytest.approx(1 + 8 - 2 * 1.5**3)


def test_mmd_of_gaussians_is_the_closed_form():
    """E k(u, v) of N(0, I) and N(m, I): (s / sqrt(s^2 + 2))^d exp(-|m|^2 / 2 (s^2 + 2))."""
    d, sigma, shift = 3, 2.0, 1.0
    factor = (sigma / np.sqrt(sigma**2 + 2)) ** d
    expected = 1000 * 2 * factor * (1 - np.exp(-d * shift**2 / (2 * (sigma**2 + 2))))
    assert mmd(normal(2000, d), normal(2000, d, shift=shift, rng=1), sigma=sigma) == pytest.approx(expected, rel=0.05)


def test_mmd_of_two_points_each():
    x, y = np.zeros((2, 4)), np.ones((2, 4))
    assert mmd(x, y) == pytest.approx(1000 * 2 * (1 - np.exp(-4 / 200)))


# --- what cannot be measured ----------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [fid, kid, mmd])
def test_bad_features_are_refused_by_name(distance):
    good = normal(6, 4)
    with pytest.raises(DislibError, match="features y are of 1 picture; .* at least 2"):
        distance(good, good[:1])
    with pytest.raises(DislibError, match=r"differ in width \(4 and 3\)"):
        distance(good, good[:, :3])
    with pytest.raises(DislibError, match=r"shape \(4,\)"):
        distance(good[0], good)
    bad = good.copy()
    bad[[1, 4]] = np.nan
    with pytest.raises(DislibError, match="2 rows of y are not finite .*: 1, 4;"):
        distance(good, bad)


# --- files ----------------------------------------------------------------------------------------------------


def test_statistics_survive_the_file(tmp_path):
    stats = FrechetStats.from_features(normal(20, 5), meta={"judge": "small"})
    stats.save(tmp_path / "a.safetensors")
    back = FrechetStats.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(back.mean, stats.mean)
    np.testing.assert_array_equal(back.cov, stats.cov)
    assert (back.n, back.meta) == (20, {"judge": "small"})
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_features_survive_the_file(tmp_path):
    x = normal(20, 5).astype(np.float32)
    save_features(tmp_path / "f.safetensors", x, meta={"kind": "pooled", "n": 20})
    back, meta = load_features(tmp_path / "f.safetensors")
    np.testing.assert_array_equal(back, x)
    assert meta == {"kind": "pooled", "n": "20"}


def test_broken_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "f.safetensors"
    with pytest.raises(DislibError, match="there is no file"):
        load_features(path)
    save_features(path, normal(20, 5))
    with pytest.raises(DislibError, match="lacks .*mean"):
        FrechetStats.load(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DislibError, match="not a safetensors file"):
        load_features(path)


# --- bands ----------------------------------------------------------------------------------------------------


def test_band_of_a_mean_has_the_width_of_its_standard_error():
    scores = np.random.default_rng(0).normal(size=400)
    band = block_bootstrap(lambda i: scores[i].mean(), range(400), draws=2000)
    assert band.value == pytest.approx(scores.mean())
    assert band.high - band.low == pytest.approx(2 * 1.96 / 20, rel=0.1)


def test_blocks_are_drawn_whole():
    """Four equal pictures a prompt hold no more than one: the band must not shrink."""
    scores = np.repeat(np.random.default_rng(0).normal(size=100), 4)
    prompts = np.repeat(np.arange(100), 4)
    blocked = block_bootstrap(lambda i: scores[i].mean(), prompts, draws=1000)
    single = block_bootstrap(lambda i: scores[i].mean(), range(400), draws=1000)
    assert (blocked.high - blocked.low) == pytest.approx(2 * (single.high - single.low), rel=0.15)


def test_fid_lies_inside_its_own_band():
    x, y = normal(80, 8), normal(80, 8, shift=0.3, rng=1)
    band = block_bootstrap(lambda i: fid(x[i], y), np.repeat(np.arange(20), 4), draws=50)
    assert band.low < band.value < band.high and band.value == fid(x, y)


def test_one_block_is_no_bootstrap():
    with pytest.raises(DislibError, match="at least 2 blocks"):
        block_bootstrap(np.mean, ["a", "a"])




# --- the judge ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory):
    return save_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def judge(judge_folder):
    return load_judge(judge_folder, device="cpu")


def test_judge_is_loaded_in_float32_and_frozen(judge, judge_folder):
    assert {p.dtype for p in judge.model.parameters()} == {torch.float32}
    assert not judge.model.training and not any(p.requires_grad for p in judge.model.parameters())
    assert judge.name == judge_folder.name


def test_features_have_the_right_shapes_whatever_the_batch(judge):
    images = pictures(5)
    pooled = image_features(images, judge, batch_size=2)
    assert pooled.shape == (5, 24) and pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, image_features(iter(images), judge, batch_size=64), atol=1e-5)
    projected = image_features(images, judge, kind="projected")
    assert projected.shape == (5, 12)
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, atol=1e-5)


def test_arrays_and_pictures_give_the_same_features(judge):
    images = pictures(2)
    np.testing.assert_array_equal(
        image_features(images, judge), image_features([np.asarray(i) for i in images], judge))


def test_clip_scores_are_the_models_own_cosines(judge):
    images, prompts = pictures(3), ["a red house", "a tree", "a red house"]
    inputs = judge.processor(text=prompts, images=images, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = judge.model(**inputs).logits_per_image.diagonal() / judge.model.logit_scale.exp()
    found = clip_scores(images, prompts, judge)
    np.testing.assert_allclose(found, 100 * logits.numpy(), rtol=1e-4, atol=1e-4)
    features = image_features(images, judge, kind="projected")
    np.testing.assert_allclose(clip_scores(features, prompts, judge), found)


def test_clip_scores_agree_with_torchmetrics(judge):
    multimodal = importlib.import_module("torchmetrics.multimodal.clip_score")

    class Old(torch.nn.Module):
        """transformers 5 returns an object where torchmetrics 1.9 expects the vector."""

        def __init__(self, model):
            super().__init__()
            self.model, self.config = model, model.config

        def get_image_features(self, *args, **kwargs):
            return self.model.get_image_features(*args, **kwargs).pooler_output

        def get_text_features(self, *args, **kwargs):
            return self.model.get_text_features(*args, **kwargs).pooler_output

    images, prompts = pictures(4, rng=3), ["a tree", "a house", "blue", "red"]
    metric = multimodal.CLIPScore(model_name_or_path=lambda: (Old(judge.model), judge.processor))
    values = []
    for image, prompt in zip(images, prompts):  # one at a time: their mean is clipped at 0
        values.append(float(metric(torch.from_numpy(np.array(image)).permute(2, 0, 1), prompt)))
    found = clip_scores(images, prompts, judge)
    assert (found > 0).any()
    np.testing.assert_allclose(values, found.clip(min=0), rtol=1e-4, atol=1e-4)


def test_zero_shot_is_the_softmax_of_the_logits(judge):
    images, candidates = pictures(4), ["a red house", "a blue tree", "a tree"]
    inputs = judge.processor(text=candidates, images=images, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = judge.model(**inputs).logits_per_image.softmax(dim=1).numpy()
    choices, probabilities = zero_shot(images, candidates, judge)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(choices, expected.argmax(axis=1))


def test_long_prompts_are_cut_not_refused(judge):
    assert text_features(["a red house " * 50], judge).shape == (1, 12)


def test_judge_refuses_what_it_cannot_see(judge):
    with pytest.raises(DislibError, match="image 1 is float32 .*uint8"):
        image_features([*pictures(1), np.zeros((8, 8, 3), np.float32)], judge)
    with pytest.raises(DislibError, match=r"pass \[picture\]"):
        image_features(pictures(1)[0], judge)
    with pytest.raises(DislibError, match="list is empty"):
        image_features([], judge)
    with pytest.raises(DislibError, match="kind='inception' is unknown"):
        image_features(pictures(1), judge, kind="inception")
    with pytest.raises(DislibError, match="2 images but 1 prompts"):
        clip_scores(pictures(2), ["a tree"], judge)
    with pytest.raises(DislibError, match="at least two candidate"):
        zero_shot(pictures(1), ["a tree"], judge)


def test_a_judge_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=f"no CLIP model can be loaded from {tmp_path}"):
        load_judge(tmp_path)
    with pytest.raises(ModelError, match="nowhere"):
        load_judge(tmp_path / "nowhere")
