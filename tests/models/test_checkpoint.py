import pickle

import pytest
import torch
from helpers import seeded_clip
from hub_server import hugging_face_clip, to_safetensors

from sclip_mmseg import InputError
from sclip_mmseg.towers import load_clip, load_image_tower, load_text_tower
from sclip_mmseg.utils.compat import openai_clip


@pytest.fixture(scope='module')
def clip():
    return seeded_clip()


def _open_clip(clip):
    """The same weights as OpenCLIP's training saves a CLIP with a custom text tower."""
    renamed = {
        f'module.{key}'
        if key.startswith(('visual.', 'logit_scale'))
        else f'module.text.{key}': value
        for key, value in clip.items()
    }
    renamed['module.text.attn_mask'] = torch.zeros(77, 77)
    return {'epoch': 3, 'state_dict': renamed}


def _assert_same(path, clip):
    """Both towers have the weights of the CLIP with OpenAI's names."""
    reference = path.with_name('reference.pt')
    torch.save(clip, reference)
    for load in (load_image_tower, load_text_tower):
        ours = load(str(path), round_weights=False).state_dict()
        theirs = load(str(reference), round_weights=False).state_dict()
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert ours[key].equal(value), key


@pytest.mark.parametrize('suffix', ['.pt', '.pth', '.safetensors'])
@pytest.mark.parametrize('layout', [dict, hugging_face_clip, _open_clip])
def test_layouts_and_formats(clip, tmp_path, layout, suffix):
    content = layout(clip)
    path = tmp_path / f'clip{suffix}'
    if suffix == '.safetensors':
        path.write_bytes(to_safetensors(content.get('state_dict', content)))
    else:
        torch.save(content, path)
    _assert_same(path, clip)


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::torch.jit.TracerWarning')
def test_openai_s_torchscript_archive(clip, tmp_path):
    model = openai_clip('model').build_model(dict(clip)).float()
    expected = dict(model.state_dict())
    model.register_buffer('input_resolution', torch.tensor(224))
    inputs = torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long)
    path = tmp_path / 'ViT-tiny.pt'
    torch.jit.trace(model, inputs, check_trace=False).save(path)
    _assert_same(path, expected)


def test_half_precision_checkpoints_are_computed_in_float32(clip, tmp_path):
    path = tmp_path / 'half.pt'
    torch.save({key: value.half() for key, value in clip.items()}, path)
    for load in (load_image_tower, load_text_tower):
        assert {value.dtype for value in load(str(path)).parameters()} == {torch.float32}


def test_openai_s_matrices_are_rounded_as_openai_clip_rounds_them(clip, tmp_path):
    path = tmp_path / 'clip.pt'
    torch.save(clip, path)
    theirs = openai_clip('model').build_model(dict(clip)).float()
    images, tokens = torch.randn(2, 3, 224, 224), torch.tensor([[49406, 320, 2368, 49407]])
    padded = torch.nn.functional.pad(tokens, (0, 73))
    with torch.no_grad():
        ours = load_image_tower(str(path))(images)[:, 0], load_text_tower(str(path))(tokens)
        expected = theirs.encode_image(images), theirs.encode_text(padded)
    for one, other in zip(ours, expected):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    'layout, options, rounded',
    [
        (dict, {}, True),
        (dict, dict(quick_gelu=False), False),  # OpenCLIP's, with OpenAI's names
        (dict, dict(round_weights=False), False),  # MetaCLIP's, with its activation too
        (hugging_face_clip, {}, False),
        (hugging_face_clip, dict(round_weights=True), True),
    ],
)
def test_which_checkpoints_are_rounded(clip, tmp_path, layout, options, rounded):
    path = tmp_path / 'clip.pt'
    torch.save(layout(clip), path)
    for load, name in (
        (load_image_tower, 'visual.transformer.resblocks.1.attn.in_proj_weight'),
        (load_text_tower, 'transformer.resblocks.1.attn.in_proj_weight'),
    ):
        value = load(str(path), **options).blocks[1].qkv.weight
        assert value.equal(clip[name].half().float() if rounded else clip[name])
        assert not value.equal(clip[name]) == rounded


def test_names_and_missing_files(tmp_path):
    for clip, message in (
        ('ViT-B/8', 'neither a file nor a CLIP by name.*ViT-B/16'),
        ('RN50', 'ResNet CLIP'),
        (str(tmp_path / 'absent.pt'), 'absent.pt.*neither a file'),
        (None, "clip='None' is neither a file nor"),  # of a config without one
    ):
        with pytest.raises(InputError, match=message):
            load_clip(clip)


@pytest.mark.parametrize('suffix', ['.pt', '.safetensors'])
def test_truncated_file(clip, tmp_path, suffix):
    path = tmp_path / f'cut{suffix}'
    if suffix == '.safetensors':
        path.write_bytes(to_safetensors(clip))
    else:
        torch.save(clip, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf'cut\{suffix} .*truncated.*ownload it again'):
        load_clip(str(path))


def test_empty_file(tmp_path):
    path = tmp_path / 'empty.pt'
    path.touch()
    with pytest.raises(InputError, match='empty.pt is empty, not a checkpoint: download it again'):
        load_clip(str(path))


class _Evil:
    def __reduce__(self):
        return pytest.fail, ('a checkpoint ran code',)


def test_pickled_code_is_not_run(tmp_path):
    path = tmp_path / 'evil.pt'
    torch.save({'state_dict': _Evil()}, path)
    with pytest.raises(
        InputError, match='evil.pt contains no tensors, but .state_dict. .an object of .*Fail'
    ):
        load_clip(str(path))
    with pytest.raises(pytest.fail.Exception):
        pickle.loads(pickle.dumps(_Evil()))


@pytest.mark.parametrize(
    'content, message',
    [
        ({'backbone.conv1.weight': torch.zeros(1)}, 'not a CLIP.*backbone.conv1.weight'),
        ({'visual.layer1.0.conv1.weight': torch.zeros(1)}, 'ResNet CLIP'),
        ({'visual.trunk.patch_embed.proj.weight': torch.zeros(1)}, 'not a CLIP checkpoint'),
        ([torch.zeros(1)], 'contains a list, not a state dict'),
        ({}, 'contains no tensors'),
    ],
)
def test_foreign_files(tmp_path, content, message):
    path = tmp_path / 'foreign.pt'
    torch.save(content, path)
    with pytest.raises(InputError, match=message):
        load_clip(str(path))


def test_incompletehugging_face_clip_file(clip, tmp_path):
    content = hugging_face_clip(clip)
    del content['visual_projection.weight']
    path = tmp_path / 'hf.pt'
    torch.save(content, path)
    with pytest.raises(InputError, match='visual_projection.weight'):
        load_image_tower(str(path))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda sd: sd.pop('visual.ln_post.bias'), "it lacks 'visual.ln_post.bias'"),
        (lambda sd: sd.pop('visual.proj'), "it lacks 'visual.proj'"),
        (
            lambda sd: sd.update({'visual.more': torch.zeros(1)}),
            '1 unexpected tensors.* visual.more',
        ),
        (
            lambda sd: sd.update({'visual.ln_pre.bias': torch.zeros(3)}),
            r'visual.ln_pre.bias is \(3,\), expected \(128,\)',
        ),
    ],
)
def test_wrong_tensors(clip, tmp_path, change, message):
    broken = dict(clip)
    change(broken)
    path = tmp_path / 'broken.pt'
    torch.save(broken, path)
    with pytest.raises(InputError, match=f'broken.pt.*{message}'):
        load_image_tower(str(path))


def test_image_tower_alone(clip, tmp_path):
    path = tmp_path / 'visual.pt'
    torch.save({key: value for key, value in clip.items() if key.startswith('visual.')}, path)
    assert load_image_tower(str(path)).output_dim == 32
    with pytest.raises(InputError, match='no text tower.*embeddings'):
        load_text_tower(str(path))
