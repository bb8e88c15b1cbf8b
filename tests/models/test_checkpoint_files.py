"""Any file in the place of a checkpoint is answered by what it is, at once and in one line."""

import gzip
import inspect
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from helpers import seeded_clip, seeded_dino
from hub_server import to_safetensors
from PIL import Image
from trained_weights import seeded_groupvit

from sclip_mmseg import InputError
from sclip_mmseg.models.image_encoder import CLIPImageEncoder
from sclip_mmseg.models.methods.ablations import LearnedCSA
from sclip_mmseg.models.trained import GroupViTEncoder, TCLEncoder
from sclip_mmseg.towers import load_clip, load_image_tower, load_text_tower, read_tensors
from sclip_mmseg.towers.proxy import ProxyTower

TENSORS = {'a.weight': torch.arange(6.0).reshape(2, 3), 'a.bias': torch.ones(2).half()}


def _saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _image(kind):
    buffer = io.BytesIO()
    Image.new('RGB', (8, 8), 'red').save(buffer, kind)
    return buffer.getvalue()


def _zip(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace('__', '.'), content)
    return buffer.getvalue()


def _tar(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        info = tarfile.TarInfo('clip.pt')
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 350000000\n'
FILES = {
    'LFS pointer': (POINTER, 'a Git LFS pointer.*git lfs pull'),
    'old LFS pointer': (b'version https://hawser.github.com/spec/v1\n', 'a Git LFS pointer'),
    'annex pointer': (b'/annex/objects/SHA256E-s3--0.pt\n', 'a git-annex pointer'),
    'xet pointer': (b'# xet version 0\nfilesize = 3\n', 'a pointer of the Hub'),
    'page': (b'<!DOCTYPE html>\n<html><body>Sign in</body></html>', r'a web page \(HTML\)'),
    'page with a comment': (b'\n <!-- portal -->\n<HTML>', r'a web page \(HTML\)'),
    'page in Latin-1': ('<html><title>Zürich é</title>'.encode('latin-1'), r'a web page \(HTML\)'),
    'page in UTF-16': ('<html><title>x</title>'.encode('utf-16'), r'a web page \(HTML\)'),
    'error of a store': (b'<?xml version="1.0"?><Error><Code>AccessDenied', 'an XML file'),
    'JSON': (b'{"error": "rate limit"}', 'a JSON file'),
    'index': (b'{"metadata": {}, "weight_map": {"a": "b"}}', 'the index of sharded weights'),
    'message': (b'Access denied\n', "a text that begins with 'Access denied'"),
    'address': (b'https://example.com/clip.pt\n', 'a text with a URL'),
    'shortcut': (b'[InternetShortcut]\r\nURL=https://example.com', 'a text with a URL'),
    'empty': (b'', 'is empty'),
    'zeros': (bytes(10000), 'filled with zeros'),
    'gzip': (gzip.compress(_saved(TENSORS)), 'a gzip archive.*unpack'),
    'bzip2': (b'BZh91AY&SY' + bytes(40), 'a bzip2 archive.*unpack'),
    'xz': (b'\xfd7zXZ\0' + bytes(40), 'an xz archive.*unpack'),
    'zstd': (b'\x28\xb5\x2f\xfd' + bytes(40), 'a Zstandard archive.*unpack'),
    'zip': (_zip(clip__pt=_saved(TENSORS)), "a zip archive of 'clip.pt'.*unpack"),
    'tar': (_tar(_saved(TENSORS)), 'a tar archive.*unpack'),
    'npz': (_npz(), 'an .npz file of NumPy'),
    'npy': (b'\x93NUMPY\x01\0' + bytes(120), 'an .npy array of NumPy'),
    'Keras': (_zip(config__json='{}', **{'model.weights.h5': b''}), 'a Keras model'),
    'PNG': (_image('PNG'), 'a PNG image'),
    'JPEG': (_image('JPEG'), 'a JPEG image'),
    'WebP': (_image('WEBP'), 'a WebP image'),
    'TIFF': (_image('TIFF'), 'a TIFF image'),
    'BMP': (_image('BMP'), 'a BMP image'),
    'GIF': (_image('GIF'), 'a GIF image'),
    'PDF': (b'%PDF-1.7\n%\xe2\xe3\xcf\xd3\n', 'a PDF'),
    'MP4': (b'\0\0\0\x20ftypisom' + bytes(20), 'a video or an image'),
    'GGUF': (b'GGUF\x03\0\0\0' + bytes(20), 'a GGUF file'),
    'HDF5': (b'\x89HDF\r\n\x1a\n' + bytes(20), 'an HDF5 file.*convert'),
    'ONNX': (b'\x08\x08\x12\x07pytorch\x1a\x052.1.0', 'an ONNX model'),
    'Flax': (b'\x81\xa6params\x81\xa5dense\xc7\x05\x01\x93\x91\x03\xa3', 'a msgpack file.*Flax'),
    'TFLite': (b'\x1c\0\0\0TFL3' + bytes(20), 'a TensorFlow Lite model'),
    'TensorFlow': (bytes(range(1, 200)) + bytes.fromhex('57fb808b247547db'), 'TensorFlow'),
    'pickle': (pickle.dumps({'a': np.zeros(2)}, 4), 'a pickle not written by torch.save'),
    'truncated zip': (
        _saved(TENSORS)[:700],
        'cannot be read .*File is not a zip file.: it is truncated',
    ),
    'truncated safetensors': (to_safetensors(TENSORS)[:100], 'cannot be read'),
    'absurd safetensors': (b'\xff' * 8 + b'{"a": 1}', 'cannot be read.*[Hh]eader'),
    'truncated legacy': (
        _saved(TENSORS, _use_new_zipfile_serialization=False)[:-10],
        'cannot be read .*ends too early',
    ),
    'noise': (bytes(range(200, 250)) * 3, 'an unknown kind, which begins with the bytes c8 c9'),
}


@pytest.mark.parametrize('suffix', ['.pt', '.safetensors'])
@pytest.mark.parametrize('name', FILES)
def test_a_file_is_called_what_it_is(tmp_path, name, suffix):
    content, message = FILES[name]
    path = tmp_path / f'clip{suffix}'
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_clip(str(path))
    assert '\n' not in str(caught.value) and str(path) in str(caught.value)


_READERS = {
    'image tower': load_image_tower,
    'text tower': load_text_tower,
    'proxy': ProxyTower,
    'GroupViT': GroupViTEncoder,
    'TCL': lambda path: TCLEncoder(clip=path, checkpoint=path),
    'projection': LearnedCSA,
}


@pytest.mark.parametrize('reader', _READERS)
def test_all_readers_of_weights_say_it(tmp_path, reader):
    (tmp_path / 'x.pt').write_bytes(POINTER)
    with pytest.raises(InputError, match=r'x.pt is a Git LFS pointer'):
        _READERS[reader](str(tmp_path / 'x.pt'))
    os.mkfifo(tmp_path / 'pipe.pt')
    with pytest.raises(InputError, match=r'pipe.pt is a named pipe'):
        _READERS[reader](str(tmp_path / 'pipe.pt'))
    (tmp_path / 'folder').mkdir()
    with pytest.raises(InputError, match=r'folder is a folder without a checkpoint \(.pt, '):
        _READERS[reader](str(tmp_path / 'folder'))


def test_what_is_not_a_file(tmp_path):
    (tmp_path / 'link.pt').symlink_to('../../blobs/0123')
    with pytest.raises(InputError, match=r'link.pt is a link to ../../blobs/0123, which does not'):
        load_clip(str(tmp_path / 'link.pt'))
    with pytest.raises(InputError, match='/dev/zero is a device'):
        load_clip('/dev/zero')


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    torch.save(TENSORS, tmp_path / 'x.pt')

    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('builtins.open', refuse)
    with pytest.raises(InputError, match=r'x.pt cannot be read \(Permission denied\)$'):
        read_tensors(tmp_path / 'x.pt')


@pytest.mark.parametrize('suffix', ['.pt', '.safetensors', '.bin', '.txt', ''])
@pytest.mark.parametrize(
    'content',
    [
        to_safetensors(TENSORS),
        _saved(TENSORS),
        _saved(TENSORS, _use_new_zipfile_serialization=False),
        _saved({'model_state_dict': TENSORS, 'optimizer': {'state': {0: dict(TENSORS)}}}),
        _saved({'state_dict': {f'module.{key}': value for key, value in TENSORS.items()}}),
        _saved({f'model._orig_mod.{key}': value for key, value in TENSORS.items()}),
        _saved({'net': TENSORS, 'rng': torch.zeros(3), 'args': {'lr': 0.1}}),
        _saved({'model': {'state_dict': TENSORS, 'arch': 'x'}, 'ema': TENSORS}),
        _saved({**TENSORS, 'config': {'mean': torch.zeros(3)}}),
    ],
    ids=['safetensors', 'zip', 'legacy', 'entry', 'module', 'compiled', 'net', 'nested', 'beside'],
)
def test_a_name_or_an_entry_does_not_matter(tmp_path, content, suffix):
    path = tmp_path / f'file{suffix}'
    path.write_bytes(content)
    found = read_tensors(path)
    assert found.keys() == TENSORS.keys()
    for key, value in TENSORS.items():
        assert found[key].equal(value) and found[key].dtype == value.dtype


@pytest.mark.parametrize(
    'content, message',
    [
        (dict(student=TENSORS, teacher=TENSORS), "several state dicts, 'student'; 'teacher'"),
        (dict(epoch=3, lr=0.1), r"contains no tensors, but 'epoch' \(a int\); 'lr' \(a float\)"),
        (torch.nn.Linear(2, 2), "an object of 'torch.nn.modules.linear.Linear', not a state dict"),
        (torch.zeros(3), 'contains a Tensor, not a state dict'),
        (dict(model={'a\nb': torch.zeros(1)}), r"'a\\nb'"),
        (dict(a=torch.eye(3).to_sparse()), "'a' is not a plain dense tensor .*_sparse_tensor'"),
        (dict(a=torch.empty(3, device='meta')), "'a' is not a plain dense tensor .*meta"),
        (
            lambda: dict(a=torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)),
            "'a' is not a plain dense tensor .*qtensor",
        ),
        (dict(a=np.zeros(3)), "contains no tensors, but 'a' .an object of 'numpy"),
    ],
)
@pytest.mark.filterwarnings('ignore')
def test_files_without_one_state_dict(tmp_path, content, message):
    torch.save(content() if inspect.isfunction(content) else content, tmp_path / 'file.pt')
    with pytest.raises(InputError, match=f'file.pt.*{message}') as caught:
        read_tensors(tmp_path / 'file.pt')
    assert '\n' not in str(caught.value)


def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path):
    base = torch.arange(24.0)
    content = {
        'view': base[3:15].reshape(3, 4).T,
        'same': base[3:15],
        'tied': torch.nn.Parameter(base),
        'scalar': torch.tensor(3.0),
        'none': torch.empty(0, 3),
        'expanded': torch.ones(1).expand(5),
        'brain': base.bfloat16(),
        'float8': base.to(torch.float8_e4m3fn),
        'uint16': torch.tensor([1, 2], dtype=torch.uint16),
        'bool': base > 3,
        'complex': torch.complex(base, base),
        'half': base.half(),
        'double': base.double(),
    }
    content['tagged'] = base.clone()
    content['tagged'].note = 'an attribute'
    for legacy in (False, True):
        if legacy:
            content = {key: content[key] for key in content if key not in ('float8', 'uint16')}
        path = tmp_path / f'{legacy}.pt'
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        expected, found = torch.load(path), read_tensors(path)
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert found[key].dtype == value.dtype and found[key].shape == value.shape, key
            assert found[key].stride() == value.stride(), key
            assert found[key].float().equal(value.float()) if key != 'complex' else True, key


@pytest.fixture(scope='module')
def clip():
    return seeded_clip()


def test_folders(tmp_path, clip, capsys):
    torch.save(clip, tmp_path / 'only.pt')
    (tmp_path / 'README.md').touch()
    expected = load_image_tower(str(tmp_path / 'only.pt')).proj
    assert load_image_tower(str(tmp_path)).proj.equal(expected)
    torch.save(clip, tmp_path / 'other.pth')
    with pytest.raises(InputError, match='several checkpoints, give one .*: only.pt; other.pth$'):
        load_image_tower(str(tmp_path))
    (tmp_path / 'model.safetensors').write_bytes(to_safetensors(clip))  # as the Hub's are called
    assert load_image_tower(str(tmp_path)).proj.equal(expected)
    (tmp_path / 'split').mkdir()
    (tmp_path / 'split/model.safetensors.index.json').write_text('{}')
    with pytest.raises(InputError, match='split are sharded into several files'):
        load_image_tower(str(tmp_path / 'split'))


def test_a_folder_s_config_is_followed(tmp_path, clip):
    (tmp_path / 'open_clip_model.safetensors').write_bytes(to_safetensors(clip))
    model = dict(vision_cfg=dict(width=128), text_cfg=dict(width=64, heads=1))
    (tmp_path / 'open_clip_config.json').write_text(json.dumps(dict(model_cfg=model)))
    assert load_image_tower(str(tmp_path)).blocks[0].quick_gelu is False


# ---- Bombs and forged files ---------------------------------------------------------------------


def _forge(path, pickled, **records):
    """A file as torch.save writes it, of a pickle that it would not write."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', pickled)
        for name, content in records.items():
            archive.writestr(f'archive/data/{name}', content)
    return path


def test_an_archive_that_unpacks_to_much_more(tmp_path, monkeypatch):
    monkeypatch.setattr('sclip_mmseg.towers.torch_files._SMALL', 1 << 20)
    path = _forge(tmp_path / 'bomb.pt', pickle.dumps({}, 2), **{'0': bytes(1 << 24)})
    with pytest.raises(
        InputError, match='bomb.pt claims to contain 0.0 GiB .*more than 8 times its size'
    ):
        read_tensors(path)


def test_tensors_that_claim_much_more_than_the_file_has(tmp_path):
    torch.save({'a': torch.zeros(1).expand(1 << 20, 1 << 20)}, tmp_path / 'x.pt')
    with pytest.raises(
        InputError, match='x.pt claims to contain 4096.0 GiB .*more than 8 times its size'
    ):
        read_tensors(tmp_path / 'x.pt')


_DEEP = 100_000
FORGED = {
    'deep key': b'\x80\x02}(' + b')' + b'\x85' * 4 * _DEEP + b'K\x01u.',
    'wide key': b'\x80\x02}()' + b'q\x000h\0h\0\x86' * 60 + b'K\x01u.',
    'deep list': b'\x80\x02' + b']' * _DEEP + b'a' * (_DEEP - 1) + b'.',
    'deep dict': b'\x80\x02' + b'}U\x05model' * _DEEP + b'}' + b's' * _DEEP + b'.',
    'memo': b'\x80\x02}r' + struct.pack('<I', 2**31 - 1) + b'.',
    'long text': b'\x80\x04\x8d' + struct.pack('<Q', 2**62) + b'x.',
    'no stop': b'\x80\x02}',
    'nothing': b'',
    'number': b'\x80\x02K\x01.',
    'bottom': b'\x80\x02u.',
    'cycle': b'\x80\x02}q\0U\x05modelh\0s.',
}


@pytest.mark.parametrize('name', FORGED)
def test_forged_pickles(tmp_path, name):
    with pytest.raises(InputError, match='x.pt (cannot be read|contains)') as caught:
        read_tensors(_forge(tmp_path / 'x.pt', FORGED[name]))
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_legacy_file_that_claims_a_large_tensor(tmp_path):
    path = tmp_path / 'x.pt'
    torch.save({'a': torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b'cpuq') == 1
    start = content.index(b'K\x03', content.index(b'cpuq'))
    path.write_bytes(content[:start] + b'J' + struct.pack('<i', 2**31 - 1) + content[start + 2 :])
    with pytest.raises(
        InputError, match='x.pt cannot be read .*it contains less data than it claims'
    ):
        read_tensors(path)


def test_a_damaged_record_is_noticed(tmp_path):
    path = tmp_path / 'x.pt'
    torch.save({'a': torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match='x.pt cannot be read .*CRC'):
        read_tensors(path)


# ---- TorchScript --------------------------------------------------------------------------------


class _Odd(torch.nn.Module):
    """Attributes of many kinds, not all of which are of a state dict."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 3).bfloat16(), torch.nn.BatchNorm1d(3))
        self.shared = self.layers[0]
        self.register_buffer('kept', torch.arange(3))
        self.register_buffer('left', torch.arange(3), persistent=False)
        self.register_parameter('none', None)
        self.plain = torch.ones(2)
        self.several = [torch.ones(1)]

    def forward(self, x):
        return self.layers(x) + self.plain[0] + self.several[0] + self.kept + self.left


@pytest.mark.filterwarnings('ignore')
def test_torchscript_s_tensors_are_those_of_torch(tmp_path, clip):
    from sclip_mmseg.utils.compat import openai_clip

    model = openai_clip('model').build_model(dict(clip))  # in float16, as OpenAI's
    model.visual.float(), model.transformer.float()
    inputs = torch.zeros(1, 3, 224, 224).half(), torch.zeros(1, 77, dtype=torch.long)
    model.half().float()
    model.register_buffer('input_resolution', torch.tensor(224))
    traced = torch.jit.trace(model, (inputs[0].float(), inputs[1]), check_trace=False)
    for name, module in (('traced', traced), ('scripted', torch.jit.script(_Odd()))):
        path = tmp_path / f'{name}.pt'
        module.save(path)
        expected, found = torch.jit.load(path).state_dict(), read_tensors(path)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key].equal(value) and found[key].dtype == value.dtype
            assert found[key].stride() == value.stride()


def _load_clips(path):
    for reader in _READERS.values():
        with pytest.raises(InputError) as caught:
            reader(str(path))
        assert str(path) in str(caught.value) and 'by code' in str(caught.value)


@pytest.mark.filterwarnings('ignore')
def test_torchscript_s_code_is_not_run(tmp_path, shared, monkeypatch):
    import runpy
    import sys

    monkeypatch.setattr(sys, 'argv', ['make_torchscript.py', str(tmp_path)])
    runpy.run_path(str(shared / 'cases/attack/make_torchscript.py'))
    for name in ('setstate', 'loop'):
        _load_clips(tmp_path / f'{name}.pt')
    assert not (tmp_path / 'RAN').exists()


# ---- Tensors that do not fit --------------------------------------------------------------------


def _without(prefix):
    return lambda sd: [sd.pop(key) for key in list(sd) if key.startswith(prefix)]


def _with(key, function):
    return lambda sd: sd.update({key: function(sd.get(key))})


CONV, POSITIONS, TOKENS = (
    'visual.conv1.weight',
    'visual.positional_embedding',
    'token_embedding.weight',
)
IMAGE = {
    'positions': (
        _with(POSITIONS, lambda x: x[:129].clone()),
        '128 positions .*not a square grid',
    ),
    'no positions': (
        _with(POSITIONS, lambda x: x[:1].clone()),
        ' 0 positions .*not a square grid',
    ),
    'one dimension': (_with(POSITIONS, lambda x: x[0].clone()), r'\(128,\), expected 2 dimensions'),
    'no pixels': (_with(CONV, lambda x: x[:, :, :0, :0]), r'\(128, 3, 0, 0\), expected elements'),
    'flat patches': (_with(CONV, lambda x: x.flatten(1)), 'conv1.weight .*expected 4 dimensions'),
    'oblong patches': (_with(CONV, lambda x: x[..., :8]), r'conv1.weight is \(128, 3, 16, 8\)'),
    'four channels': (_with(CONV, lambda x: x[:, [0, 1, 2, 2]]), r'conv1.weight is \(128, 4, 16'),
    'middle': (
        _without('visual.transformer.resblocks.1.'),
        "lacks the tensors 'visual.transformer.resblocks.1.…', but has those of block 2",
    ),
    'first': (_without('visual.transformer.resblocks.0.'), "'visual.transformer.resblocks.0.…'"),
    'integers': (_with(CONV, lambda x: x.int()), 'conv1.weight has dtype torch.int32'),
    'complex': (_with(CONV, lambda x: x.cfloat()), 'conv1.weight has dtype torch.complex64'),
    'float8': (
        _with(CONV, lambda x: x.to(torch.float8_e4m3fn)),
        'conv1.weight has dtype torch.float8_e4m3fn',
    ),
    'NaN': (_with(CONV, lambda x: x * float('nan')), 'conv1.weight contains NaN or infinity'),
    'infinity': (_with('visual.proj', lambda x: x / 0), 'visual.proj contains NaN or infinity'),
    'double': (_with(CONV, lambda x: x.double() * 1e300), 'conv1.weight contains NaN or infinity'),
    'LoRA': (
        _with('visual.transformer.resblocks.0.attn.lora_A', lambda x: torch.zeros(4, 128)),
        'unexpected tensors.*lora_A.*merge',
    ),
    'prompts': (
        _with('prompt_learner.ctx', lambda x: torch.zeros(4, 64)),
        'unused tensors, prompt_learner.ctx, which change the results',
    ),
}
TEXT = {
    'vocabulary': (_with(TOKENS, lambda x: x[:32000].clone()), 'has 32000 rows.*49408'),
    'larger vocabulary': (_with(TOKENS, lambda x: x[[*range(49408), 0]]), 'has 49409 rows'),
    'middle': (
        lambda sd: sd.update(
            {
                k.replace('.1.', '.2.'): sd.pop(k)
                for k in list(sd)
                if k.startswith('transformer.resblocks.1.')
            }
        ),
        "lacks the tensors 'transformer.resblocks.1.…'",
    ),
    'LongCLIP': (
        _with('positional_embedding_res', lambda x: torch.zeros(248, 64)),
        'unexpected tensors, such as positional_embedding_res',
    ),
    'context': (_with('positional_embedding', lambda x: x[:, :8]), r'is \(77, 8\), expected'),
    'NaN': (_with('ln_final.bias', lambda x: x * float('nan')), 'ln_final.bias contains NaN'),
}


@pytest.mark.parametrize(
    'load, change, message',
    [(load_image_tower, *case) for case in IMAGE.values()]
    + [(load_text_tower, *case) for case in TEXT.values()],
    ids=[f'image: {name}' for name in IMAGE] + [f'text: {name}' for name in TEXT],
)
def test_tensors_that_do_not_fit(tmp_path, clip, load, change, message):
    changed = dict(clip)
    change(changed)
    torch.save(changed, tmp_path / 'x.pt')
    with pytest.raises(InputError, match=f'x.pt.*{message}') as caught:
        load(str(tmp_path / 'x.pt'))
    assert '\n' not in str(caught.value)


def test_a_width_that_heads_do_not_divide(tmp_path):
    torch.save(seeded_dino(width=192), tmp_path / 'fits.pt')
    ProxyTower(str(tmp_path / 'fits.pt'))
    odd = {
        key: value[..., :184] if value.shape[-1:] == (192,) else value
        for key, value in seeded_dino(width=192).items()
    }
    odd['patch_embed.proj.weight'] = odd['patch_embed.proj.weight'][:184]
    odd['patch_embed.proj.weight'] = torch.zeros(200, 3, 8, 8)
    torch.save(odd, tmp_path / 'odd.pt')
    with pytest.raises(
        InputError, match='odd.pt.* has a width of 200, which is not divisible by 64'
    ):
        ProxyTower(str(tmp_path / 'odd.pt'))


@pytest.mark.parametrize(
    'change, message',
    [
        (_with('pos_embed', lambda x: x[:, :9]), '8 positions .*not a square grid'),
        (_with('blocks.0.norm1.weight', lambda x: x * float('nan')), 'contains NaN'),
        (_without('blocks.0.'), "lacks the tensors 'blocks.0.…'"),
        (_with('head.weight', lambda x: torch.zeros(3)), 'unexpected tensors, such as head'),
    ],
)
def test_a_second_tower_that_does_not_fit(tmp_path, change, message):
    changed = seeded_dino()
    change(changed)
    torch.save(changed, tmp_path / 'x.pt')
    with pytest.raises(InputError, match=f'x.pt.*{message}'):
        ProxyTower(str(tmp_path / 'x.pt'))


@pytest.mark.parametrize(
    'change, message',
    [
        (
            _with('img_encoder.pos_embed', lambda x: x[:, :128]),
            '128 positions .*not a square grid',
        ),
        (_with('logit_scale', lambda x: torch.zeros(3)), 'logit_scale is .*expected a number'),
        (_with('adapter.weight', lambda x: torch.zeros(3)), 'adapter.weight, which change'),
        (
            _with('img_projector.linear_hidden.0.weight', lambda x: x[:, :8]),
            'img_projector.* takes 8 features, not 64',
        ),
    ],
)
def test_a_groupvit_that_does_not_fit(tmp_path, change, message):
    changed = seeded_groupvit()
    change(changed)
    torch.save(changed, tmp_path / 'x.pt')
    with pytest.raises(InputError, match=f'x.pt.*{message}'):
        GroupViTEncoder(str(tmp_path / 'x.pt'))


@pytest.mark.parametrize(
    'weight, message',
    [
        (torch.eye(64), 'is 64 wide, the tower of image_encoder.clip 128'),
        (torch.eye(128).int(), 'projection=.*weight has dtype torch.int32'),
        (torch.eye(128) / 0, 'projection=.*weight contains NaN or infinity'),
        (torch.zeros(128, 64), "has no square matrix 'weight'"),
    ],
)
def test_a_projection_that_does_not_fit(tmp_path, clip_path, weight, message):
    torch.save(dict(weight=weight), tmp_path / 'w.pt')
    with pytest.raises(InputError, match=message):
        CLIPImageEncoder(clip_path, dict(type='LearnedCSA', projection=str(tmp_path / 'w.pt')))


def test_tensors_that_are_not_read_are_named(tmp_path, clip, monkeypatch):
    said = []
    monkeypatch.setattr(
        'sclip_mmseg.towers.layouts.print_log', lambda message, *_: said.append(message)
    )
    harmless = {
        'logit_scale': torch.ones(()),
        'logit_bias': torch.ones(()),
        'attn_mask': torch.eye(3),
    }
    torch.save({**clip, **harmless}, tmp_path / 'usual.pt')
    load_image_tower(str(tmp_path / 'usual.pt'))
    assert said == []
    torch.save({**clip, 'decoder.weight': torch.ones(3)}, tmp_path / 'more.pt')
    load_image_tower(str(tmp_path / 'more.pt')), load_text_tower(str(tmp_path / 'more.pt'))
    assert said == [f'{tmp_path / "more.pt"} has 1 unused tensors: decoder.weight']


@pytest.mark.parametrize(
    'prefix, message',
    [
        (
            'student.',
            "CLIP inside a larger model: it has the tensor 'student.visual.conv1.weight'",
        ),
        ('base_model.lora_', 'not a CLIP checkpoint .*merge'),
    ],
)
def test_a_clip_within_something_else(tmp_path, clip, prefix, message):
    if 'lora' in prefix:
        content = {f'{prefix}A.weight': torch.zeros(3)}
    else:
        content = {'epoch': torch.zeros(1), **{prefix + key: value for key, value in clip.items()}}
    torch.save(content, tmp_path / 'x.pt')
    with pytest.raises(InputError, match=f'x.pt.*{message}'):
        load_clip(str(tmp_path / 'x.pt'))
