import urllib.error
import urllib.request

import pytest
import torch
import torch.nn.functional as F
from helpers import build_model, load_config, load_images, run_test, seeded_dino

from sclip_mmseg import InputError
from sclip_mmseg.models import CLIPImageEncoder, View
from sclip_mmseg.models.methods import ProxyCLIP
from sclip_mmseg.models.methods.proxyclip import pairwise_cosines
from sclip_mmseg.models.windows import pad_margins
from sclip_mmseg.towers.proxy import PROXIES, ProxyTower, find_proxy

METHOD = dict(type='ProxyCLIP')


def test_cosines_of_all_pairs(device):
    patches = torch.tensor([[[3.0, 4.0], [4.0, 3.0], [-6.0, -8.0], [0.0, 0.0]]], device=device)
    expected = [[1, 0.96, -1, 0], [0.96, 1, -0.96, 0], [-1, -0.96, 1, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(pairwise_cosines(patches), torch.tensor([expected], device=device))


def _encoder(clip, dino, device, **options):
    return CLIPImageEncoder(clip, METHOD, dict(checkpoint=dino), **options).to(device)


def _run(encoder, images):
    return encoder.features(View(images), None)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError('no route')

    monkeypatch.setattr(urllib.request.OpenerDirector, 'open', refuse)


@pytest.mark.parametrize('size', [(96, 96), (96, 160), (100, 70), (17, 64)])
def test_features_are_on_the_second_tower_s_grid(clip_path, dino_path, size, device):
    images = torch.randn(2, 3, *size).to(device)
    features = _run(_encoder(clip_path, dino_path, device), images)
    assert features.shape == (2, size[0] // 8, size[1] // 8, 32)
    assert features.isfinite().all()


def _by_hand(encoder, image, beta=1.2, gamma=3.0):
    """One image `[3, H, W]`, head by head and row by row; `[h * w, width]` before the read-out."""
    tower, proxy = encoder.tower, encoder.proxy
    features = F.normalize(proxy(image[None])[0].flatten(0, 1), dim=-1)
    cosines = features @ features.T
    mean = cosines.mean()
    x, grid = tower.embed(image[None])
    for block in tower.blocks[:-1]:
        x = block(x)
    last = tower.blocks[-1]
    values = last.project(last.norm1(x))[2][0, :, 1:]  # [heads, N, d]
    heads = []
    for value in values:
        coarse = value.T.reshape(1, -1, *grid)
        fine = F.interpolate(coarse, proxy.tower.grid(image), mode='bilinear')[0].flatten(1).T
        mixed = []
        for row in cosines:
            logits = gamma * (row - beta * mean)
            kept = logits >= 0
            mixed.append(logits[kept].softmax(0) @ fine[kept])
        heads.append(torch.stack(mixed))
    return last.out(torch.cat(heads, 1))


def test_equals_a_direct_loop(clip_path, dino_path, device):
    encoder = _encoder(clip_path, dino_path, device)
    images = torch.randn(2, 3, 64, 96).to(device)
    found = encoder.method(encoder.tower, View(images), None, proxy=encoder.proxy).flatten(1, 2)
    for image, features in zip(images, found):
        expected = encoder.tower.read_out(_by_hand(encoder, image))
        torch.testing.assert_close(features, expected, rtol=0, atol=1e-4)


def test_a_batch_is_its_images(clip_path, dino_path, device):
    encoder = _encoder(clip_path, dino_path, device)
    images = torch.randn(3, 3, 64, 48).to(device)
    alone = torch.cat([_run(encoder, image[None]) for image in images])
    torch.testing.assert_close(_run(encoder, images), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize('precision, tolerance', [('fp16', 0.03), ('bf16', 0.2)])
def test_lower_precision_stays_close(clip_path, dino_path, precision, tolerance, device):
    images = torch.randn(1, 3, 64, 96).to(device)
    exact = _run(_encoder(clip_path, dino_path, device), images)
    rough = _run(_encoder(clip_path, dino_path, device, precision=precision), images)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < tolerance


def test_weights_of_a_uniform_window(device):
    # A mean cosine above 1 / 1.2: no patch resembles another more than that.
    features = torch.ones(2, 6, 4, device=device)
    features[1, 0, 1::2] = -1
    weights = ProxyCLIP().weights(features)
    torch.testing.assert_close(weights[0], torch.eye(6, device=device))
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6, device=device))


def test_a_uniform_image_is_finite(clip_path, dino_path, tmp_path, device):
    dino = torch.load(dino_path)
    dino['pos_embed'].zero_()
    torch.save(dino, tmp_path / 'dino.pth')
    encoder = _encoder(clip_path, str(tmp_path / 'dino.pth'), device)
    assert _run(encoder, torch.zeros(1, 3, 64, 64, device=device)).isfinite().all()


def test_weights_drop_what_resembles_less(device):
    # Two groups of three, mean cosine 1/2.
    features = torch.eye(2, device=device).repeat_interleave(3, 0)[None]
    weights = ProxyCLIP().weights(features)
    expected = torch.block_diag(*[torch.full((3, 3), 1 / 3)] * 2).to(device)
    torch.testing.assert_close(weights[0], expected)


@pytest.mark.parametrize('argument', ['beta', 'gamma'])
def test_bad_arguments(argument):
    with pytest.raises(InputError, match=f'method.{argument}=-1 must not be negative'):
        ProxyCLIP(**{argument: -1})


def test_proxy_and_method_belong_together(clip_path, dino_path):
    with pytest.raises(InputError, match='ProxyCLIP needs model.image_encoder.proxy'):
        CLIPImageEncoder(clip_path, METHOD)
    with pytest.raises(
        InputError, match='SCLIP does not use model.image_encoder.proxy: set it to None'
    ):
        CLIPImageEncoder(clip_path, dict(type='SCLIP'), dict(checkpoint=dino_path))
    with pytest.raises(InputError, match=r'write proxy=dict\(checkpoint='):
        CLIPImageEncoder(clip_path, METHOD, dict(path=dino_path))


@pytest.mark.parametrize(
    'options',
    [
        dict(patch_size=16),
        dict(patch_size=14, scale=True),
        dict(patch_size=14, scale=True, registers=4),
    ],
)
@pytest.mark.parametrize('size', [(56, 56), (112, 84), (50, 30)])
def test_towers_of_any_size(tmp_path, options, size, device):
    torch.save(seeded_dino(**options), tmp_path / 'dino.pth')
    proxy = ProxyTower(str(tmp_path / 'dino.pth')).to(device)
    images = torch.randn(2, 3, *size).to(device)
    grid = tuple(side // options['patch_size'] for side in size)
    assert proxy(images).shape == proxy.queries_and_keys(images).shape == (2, *grid, 128)
    torch.testing.assert_close(proxy(images)[1:], proxy(images[1:]), rtol=0, atol=1e-5)
    assert proxy.tower.num_prefix_tokens == 1 + options.get('registers', 0)


def test_normalisation(dino_path, device):
    pixels = torch.rand(1, 3, 16, 16)
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (
            (0.48145466, 0.4578275, 0.40821073),
            (0.26862954, 0.26130258, 0.27577711),
        )
    )
    expected = (pixels - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    proxy = ProxyTower(dino_path).to(device)
    found = proxy.normalise(((pixels - mean) / std).to(device))
    torch.testing.assert_close(found, expected.to(device), rtol=0, atol=1e-5)


def test_a_missing_checkpoint(clip_path, no_network, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"'dino_vitb9' is neither a file nor one of dino_vits16"):
        find_proxy('dino_vitb9')
    with pytest.raises(InputError, match=r"'None' is neither a file nor one of dino_vits16"):
        find_proxy(None)
    monkeypatch.setenv('SCLIP_DOWNLOAD_ROOT', str(tmp_path))
    with pytest.raises(InputError) as error:
        find_proxy('dino_vitb8')
    url = 'https://dl.fbaipublicfiles.com/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth'
    assert url in str(error.value)
    assert str(tmp_path / 'dino_vitbase8_pretrain.pth') in str(error.value)


def test_a_file_that_lies_there_is_used(no_network, tmp_path, monkeypatch):
    monkeypatch.setenv('SCLIP_DOWNLOAD_ROOT', str(tmp_path))
    for name, published in PROXIES.items():
        path = tmp_path / published.url.rpartition('/')[2]
        path.touch()
        assert find_proxy(name).weights == path
    assert len(list(tmp_path.glob('*.pth'))) == len(PROXIES)


def test_another_checkpoint_is_refused(clip_path):
    with pytest.raises(InputError, match=r'proxy.checkpoint=.* lacks .patch_embed.proj.weight'):
        ProxyTower(clip_path)


def test_the_tool_asks_for_the_proxy_before_work(clip_path, voc_root):
    output = run_test(
        *('proxyclip-dino-b8_vit-b16_voc20', clip_path, '--cfg-options'),
        'model.image_encoder.proxy.checkpoint=absent.pth',
        data_root=voc_root,
        cwd=voc_root,
        check=False,
    ).stdout
    assert "error: model.image_encoder.proxy.checkpoint='absent.pth' is neither" in output
    assert 'Traceback' not in output and 'Encoding' not in output


def test_batches_of_unequal_images(clip_path, dino_path, voc_root, device):
    cfg = load_config('proxyclip-dino-b8_vit-b16_voc20', clip_path)
    cfg.model.image_encoder.proxy.checkpoint = dino_path
    cfg.model.test_cfg.update(crop_size=(96, 96), stride=(48, 48), pad_multiple=1)
    cfg.test_pipeline[1].scale = (2048, 96)
    paths = sorted((voc_root / 'VOCdevkit/VOC2012/JPEGImages').iterdir())
    model = build_model(cfg, device)
    together = model.test_step(load_images(cfg, paths))
    for path, sample in zip(paths, together):
        [alone] = model.test_step(load_images(cfg, [path]))
        scores = sample.seg_logits.data, alone.seg_logits.data
        torch.testing.assert_close(*scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    'size, expected',
    [
        ((336, 500), ((0, 0), (0, 0))),
        ((240, 500), ((20, 20), (0, 0))),
        ((243, 200), ((18, 19), (12, 12))),
    ],
)
def test_margins(size, expected):
    assert pad_margins(size, (336, 336), 56) == expected
    assert pad_margins(size, (336, 336), 1) == ((0, 0), (0, 0))


def test_padding_is_cut_back(clip_path, dino_path, device):
    cfg = load_config('proxyclip-dino-b8_vit-b16_voc20', clip_path)
    cfg.model.image_encoder.proxy.checkpoint = dino_path
    model = build_model(cfg, device)
    image = torch.randn(3, 100, 340).to(device)  # windows of 112 × 336
    padded = F.pad(image, (0, 0, 6, 6))
    [found], [whole] = model.predict(image[None]), model.predict(padded[None])
    expected = whole.seg_logits.data[:, 6:106]
    torch.testing.assert_close(found.seg_logits.data, expected, rtol=0, atol=1e-6)
