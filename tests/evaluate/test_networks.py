"""LPIPS, FID, KID and the style distance on stub networks with fixed weights: against the libraries and written again.

No published weights are needed: a formula that is right for one network is right for another.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.evaluate.frame_sets import frechet_distance, kernel_distance
from lyra.worldgen.evaluate.networks import ALEXNET, INCEPTION, VGG16, Unavailable, load_networks
from lyra.worldgen.evaluate.networks_torch import (
    InceptionFeatures,
    Perceptual,
    TappedLayers,
    alexnet_taps,
    gram_matrices,
    vgg16_taps,
)
from lyra.worldgen.evaluate.style import gram_distances
from rooms import analytic_room


def seeded(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The network with weights that the seed decides, of a size that keeps signals alive."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.parameters():
        fan = value[0].numel() if value.ndim > 1 else 1
        value.data = torch.randn(value.shape, generator=generator) * (2 / fan) ** 0.5 * (1 if value.ndim > 1 else 0.05)
    return network.eval().requires_grad_(False)


def stub_layers() -> TappedLayers:
    """Three small convolutions, tapped after each ReLU."""
    layers = [torch.nn.Conv2d(3, 6, 5, 2, 2), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(6, 9, 3, 1, 1)]
    layers += [torch.nn.ReLU(), torch.nn.Conv2d(9, 4, 3, 1, 1), torch.nn.ReLU()]
    return seeded(TappedLayers(layers, (1, 4, 6)), 3)  # pyright: ignore


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """The same room from two places."""
    room = analytic_room(width_px=96, height_px=72)
    T = room.T_world_cam.copy()
    T[:3, 3] += [0.4, 0.2, 0.0]
    return room.render().rgb_u8, room.render(T_world_cam=T).rgb_u8


def perceptual(network: TappedLayers, widths: tuple[int, ...]) -> Perceptual:
    generator = torch.Generator().manual_seed(11)
    return Perceptual(network, [torch.rand(width, generator=generator) for width in widths])


class LibraryBackbone(torch.nn.Module):
    """The same features in the form in which torchmetrics' LPIPS takes them."""

    def __init__(self, network: TappedLayers) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)


def library_lpips(ours: Perceptual):
    """torchmetrics' own LPIPS over our network: all of it but the constructor, which fetches weights."""
    from torchmetrics.functional.image.lpips import _LPIPS, NetLinLayer, ScalingLayer

    net = _LPIPS.__new__(_LPIPS)
    torch.nn.Module.__init__(net)
    net.spatial, net.resize, net.L = False, None, len(ours.linear)
    net.scaling_layer, net.net = ScalingLayer(), LibraryBackbone(ours.network)
    layers = []
    for weights in ours.linear:
        layer = NetLinLayer(len(weights))
        layer.model[0].weight.data = weights[None, :, None, None].clone()
        layers.append(layer)
    net.lins = torch.nn.ModuleList(layers)
    return net.eval()


@pytest.mark.parametrize(
    ("network", "widths"),
    [(stub_layers(), (6, 9, 4)), (seeded(alexnet_taps(), 5), (64, 192, 384, 256, 256))],
    ids=["stub", "alexnet"],
)
def test_lpips_is_torchmetrics_on_the_same_features(network, widths, pair):
    from torchmetrics.functional.image.lpips import _lpips_update

    ours = perceptual(network, widths)
    a, b = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in pair)
    with torch.inference_mode():
        want = float(_lpips_update(a, b, library_lpips(ours), normalize=True))
    assert want > 1e-3
    np.testing.assert_allclose(ours.distance(*pair), want, rtol=1e-5)
    assert ours.distance(pair[0], pair[0]) == 0.0


def test_lpips_is_its_formula_written_again(pair):
    """In float64 NumPy, from the stub's raw features: Zhang et al. 2018, equation 1."""
    network, widths = stub_layers(), (6, 9, 4)
    ours = perceptual(network, widths)
    features = []
    for picture in pair:
        x = picture.astype(np.float64) / 127.5 - 1
        x = (x - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        features.append([f[0].double().numpy() for f in network(torch.from_numpy(x).permute(2, 0, 1)[None].float())])
    want = 0.0
    for a, b, weights in zip(*features, ours.linear, strict=True):
        a, b = (x / np.sqrt((x * x).sum(0) + 1e-8) for x in (a, b))
        want += np.tensordot(weights.numpy().astype(float), (a - b) ** 2, 1).mean()
    np.testing.assert_allclose(ours.distance(*pair), want, rtol=1e-5)


def test_lpips_refuses_what_it_cannot_compare(pair):
    ours = perceptual(stub_layers(), (6, 9, 4))
    with pytest.raises(InputError, match="at least 64 px"):
        ours.distance(pair[0][:40], pair[1][:40])
    with pytest.raises(InputError, match="b_u8"):
        ours.distance(pair[0], pair[1][:, :70])
    with pytest.raises(InputError, match="weights of 2 layers"):
        perceptual(stub_layers(), (6, 9))


class StubFeatures(torch.nn.Module):
    """Twelve features of a uint8 picture: means of a small convolution."""

    num_features = 12

    def __init__(self) -> None:
        super().__init__()
        self.layer = seeded(torch.nn.Conv2d(3, 12, 7, 3), 9).double()

    def forward(self, x):
        return self.layer(x.double() / 255).mean((2, 3))


def two_sets() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """40 pictures of one kind and 33 of another."""
    rng = np.random.default_rng(4)
    real = [rng.integers(0, rng.integers(40, 256), (32, 40, 3)).astype(np.uint8) for _ in range(40)]
    made = [rng.integers(30, rng.integers(60, 200), (32, 40, 3)).astype(np.uint8) for _ in range(33)]
    return real, made


def stacked(pictures: list[np.ndarray]):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def test_fid_is_the_librarys_and_its_formula():
    """torchmetrics with the stub as its network; and mean and covariance with SciPy's root of a matrix."""
    from scipy.linalg import sqrtm
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, made = two_sets()
    ours = InceptionFeatures(StubFeatures())
    a, b = ours(real), ours(made)
    got = frechet_distance(a, b)

    library = FrechetInceptionDistance(feature=StubFeatures()).set_dtype(torch.float64)
    library.update(stacked(real), real=True)
    library.update(stacked(made), real=False)
    np.testing.assert_allclose(got, float(library.compute()), rtol=1e-5)

    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(sqrtm(cov_a @ cov_b))
    want = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert want > 1e-4
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(frechet_distance(a, a), 0.0, atol=1e-9)


def test_kid_is_the_librarys_and_its_formula():
    """The unbiased sum over pairs, written out; torchmetrics' class with one subset of everything."""
    from torchmetrics.image.kid import KernelInceptionDistance

    real, made = two_sets()
    ours = InceptionFeatures(StubFeatures())
    a, b = ours(real)[:33], ours(made)
    got = kernel_distance(ours(real), b)

    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    n, want = len(a), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                want += (kernel(a[i], a[j]) + kernel(b[i], b[j])) / (n * (n - 1))
            want -= 2 * kernel(a[i], b[j]) / n**2
    np.testing.assert_allclose(got, want, rtol=1e-9)

    with pytest.warns(UserWarning, match="extracted features"):
        library = KernelInceptionDistance(feature=StubFeatures(), subsets=1, subset_size=33)
    library.set_dtype(torch.float64)
    library.update(stacked(real[:33]), real=True)
    library.update(stacked(made), real=False)
    np.testing.assert_allclose(got, float(library.compute()[0]), rtol=1e-4, atol=1e-7)


def test_sets_that_are_too_small_or_broken_are_refused():
    rng = np.random.default_rng(0)
    good = rng.normal(size=(5, 3))
    with pytest.raises(InputError, match="at least 2"):
        frechet_distance(good[:1], good)
    with pytest.raises(InputError, match="not finite"):
        kernel_distance(good, np.full((5, 3), np.nan))
    with pytest.raises(InputError, match="made"):
        frechet_distance(good, good[:, :2])


def test_style_distance_is_its_formula_written_again(pair):
    network = stub_layers()
    got = gram_distances(network, [pair[0], pair[1], pair[0]])
    per_picture = []
    for picture in pair:
        x = (picture / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        layers = network(torch.from_numpy(x).permute(2, 0, 1)[None].float())
        per_picture.append([np.einsum("ihw,jhw->ij", f[0], f[0]) / f[0, 0].numel() for f in layers])
    want = np.mean([np.sqrt(((b - a) ** 2).sum() / (a**2).sum()) for a, b in zip(*per_picture, strict=True)])
    assert want > 0.01
    np.testing.assert_allclose(got, np.array([want, 0.0]), rtol=1e-5)
    assert [g.shape for g in gram_matrices(network, pair[0])] == [(6, 6), (9, 9), (4, 4)]


def write_weights(folder: Path, network: TappedLayers, name: str) -> None:
    folder.mkdir(exist_ok=True)
    torch.save({f"features.{key}": value for key, value in network.layers.state_dict().items()}, folder / name)


def test_missing_weights_are_named_and_never_fetched(tmp_path, monkeypatch):
    """Each network says which file it wants and where it was looked for; nothing opens a connection."""
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for folder, place in ((tmp_path, tmp_path), (None, tmp_path / "torch" / "hub" / "checkpoints")):
        found = load_networks(folder)
        for network, file in ((found.perceptual, ALEXNET), (found.inception, INCEPTION), (found.style, VGG16)):
            assert isinstance(network, Unavailable)
            assert file.name in network.reason and str(place) in network.reason and file.origin in network.reason
    with pytest.raises(InputError, match="no such folder"):
        load_networks(tmp_path / "absent")


def test_published_layouts_are_read(tmp_path, pair):
    """Files in torchvision's names fill the layers; LPIPS takes its weights of channels from torchmetrics."""
    alexnet, vgg16 = seeded(alexnet_taps(), 1), seeded(vgg16_taps(), 2)
    write_weights(tmp_path, alexnet, ALEXNET.name)
    write_weights(tmp_path, vgg16, VGG16.name)
    found = load_networks(tmp_path)
    assert isinstance(found.perceptual, Perceptual) and isinstance(found.style, TappedLayers)
    assert [len(weights) for weights in found.perceptual.linear] == [64, 192, 384, 256, 256]
    assert all(bool((weights >= 0).all()) for weights in found.perceptual.linear)
    want = Perceptual(alexnet, found.perceptual.linear).distance(*pair)
    assert found.perceptual.distance(*pair) == want > 0
    np.testing.assert_array_equal(gram_distances(found.style, pair), gram_distances(vgg16, pair))
    assert [g.shape[0] for g in gram_matrices(found.style, pair[0])] == [64, 128, 256, 512]


@pytest.mark.parametrize("damage", ["cut off", "text", "wrong shape", "missing", "code"])
def test_files_that_are_not_those_weights_are_refused(damage, tmp_path, monkeypatch):
    """By name, and nothing that a file asks to be called is called."""
    monkeypatch.chdir(tmp_path)
    network = seeded(alexnet_taps(), 1)
    path = tmp_path / ALEXNET.name
    state = {f"features.{key}": value for key, value in network.layers.state_dict().items()}
    if damage == "wrong shape":
        state["features.0.weight"] = torch.zeros(2, 2)
    if damage == "missing":
        del state["features.8.bias"]
    if damage == "code":
        state["features.0.weight"] = _Evil()
    torch.save(state, path)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "text":
        path.write_text("these are no weights")
    with pytest.raises(InputError, match=r"alexnet-owt-7be5be79\.pth"):
        load_networks(tmp_path)
    assert not (tmp_path / "executed").exists()


class _Evil:
    """Unpickles as a call."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)
