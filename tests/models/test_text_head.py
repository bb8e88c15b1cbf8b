import os
import struct
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock
from helpers import seeded_clip

from sclip_mmseg import InputError
from sclip_mmseg.models import CLIPTextHead, text_embeddings
from sclip_mmseg.models.text_embeddings import read_embeddings, save_embeddings, tokenize
from sclip_mmseg.utils import arrays as utils_arrays
from sclip_mmseg.utils import files
from sclip_mmseg.utils.compat import openai_clip

QUERIES = [['cat', 'a very long name of a very small animal'], ['sky']]
TEMPLATES = ['a photo of a {}.', 'a {} in a video game, painted by a child with a broken pencil']


@pytest.fixture
def head(clip_path):
    return CLIPTextHead(QUERIES, TEMPLATES, clip=clip_path)


def test_embeddings_equal_openai_clip_s_on_all_77_tokens(head, clip_path):
    model = openai_clip('model').build_model(torch.load(clip_path)).float()
    expected = []
    for query in (*QUERIES[0], *QUERIES[1]):
        tokens = torch.zeros(len(TEMPLATES), 77, dtype=torch.long)
        for row, ids in zip(tokens, tokenize([t.format(query) for t in TEMPLATES], 77)):
            row[: len(ids)] = torch.tensor(ids)
        with torch.no_grad():
            embeddings = F.normalize(model.encode_text(tokens), dim=-1)
        expected.append(F.normalize(embeddings.mean(0), dim=-1))
    torch.testing.assert_close(head.embeddings, torch.stack(expected), rtol=0, atol=1e-6)


def test_tokens_are_clip_s():
    # openai-clip documents these for its tokenizer's start, 'a', 'photo', 'of', 'a', 'cat', end.
    assert tokenize(['a photo of a cat'], 77) == [[49406, 320, 1125, 539, 320, 2368, 49407]]


@pytest.mark.parametrize(
    'prompt', ["A dog's  bowl, 12 of\t'em!", 'salt &amp; pepper', 'café', "<|endoftext|>'Sam<|x"]
)
def test_prompts_are_tokenized_as_openai_s_tokenizer_does(prompt):
    expected = openai_clip('simple_tokenizer').SimpleTokenizer().encode(prompt)
    for _ in range(2):  # the second time by words that are known
        assert tokenize([prompt], 77)[0][1:-1] == expected


def test_too_long_a_prompt_is_named():
    with pytest.raises(InputError, match='word word.*shorten'):
        tokenize(['word ' * 100], 77)


def test_cosines(head, device):
    features, head = torch.randn(2, 3, 4, 32).to(device), head.to(device)
    cosines = head(features)
    assert cosines.shape == (2, 3, 3, 4)
    expected = F.cosine_similarity(features[1, 2, 3], head.embeddings[0], dim=0)
    torch.testing.assert_close(cosines[1, 0, 2, 3], expected)


def test_second_start_reads_the_cache(head, clip_path, monkeypatch):
    monkeypatch.setattr(text_embeddings, 'encode_queries', lambda *args: pytest.fail('encoded'))
    again = CLIPTextHead(QUERIES, TEMPLATES, clip=clip_path)
    assert again.embeddings.equal(head.embeddings)


@pytest.fixture
def cached(clip_path, tmp_path, monkeypatch):
    """Embeddings, and their file in a cache of their own."""
    monkeypatch.setenv('SCLIP_CACHE_DIR', str(tmp_path / 'cache'))
    head = CLIPTextHead(QUERIES, TEMPLATES, clip=clip_path)
    [path] = (tmp_path / 'cache').glob('*.npy')
    return head.embeddings, path


DAMAGES = {
    'empty': lambda data: b'',
    'half': lambda data: data[: len(data) // 2],
    'header': lambda data: data[:20],
    'text': lambda data: b'no array',
    'archive': lambda data: b'PK\x03\x04' + data,
    'rows': lambda data: np.eye(2, 32, dtype=np.float32),
    'shape': lambda data: np.ones(3, dtype=np.float32),
    'objects': lambda data: np.array([None, 'x', 3]),
    'nan': lambda data: np.full((3, 32), np.nan, dtype=np.float32),
    'zero': lambda data: np.diag(np.float32([1, 1, 0])),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_cache_is_rewritten(cached, clip_path, monkeypatch, damage):
    expected, path = cached
    damaged = DAMAGES[damage](path.read_bytes())
    if isinstance(damaged, bytes):
        path.write_bytes(damaged)
    else:
        np.save(path, damaged)
    log = []
    monkeypatch.setattr(text_embeddings, 'print_log', lambda message, *_: log.append(message))
    for _ in range(2):
        head = CLIPTextHead(QUERIES, TEMPLATES, clip=clip_path)
        assert head.embeddings.equal(expected)
    assert [message.partition(',')[0] for message in log] == [
        f'{path} is damaged',
        'Encoding 3 queries × 2 templates',
    ]


def test_without_a_folder_for_the_cache(cached, clip_path, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('SCLIP_CACHE_DIR', str(tmp_path / 'file'))
    with pytest.warns(UserWarning, match='not cached: cannot write to .*file.*SCLIP_CACHE_DIR'):
        head = CLIPTextHead(QUERIES, TEMPLATES, clip=clip_path)
    assert head.embeddings.equal(cached[0])


def test_a_full_disk(cached, clip_path, monkeypatch):
    expected, path = cached
    path.unlink()

    def save(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files.os, 'fsync', save)
    with pytest.warns(UserWarning, match='not cached: .*No space left'):
        head = CLIPTextHead(QUERIES, TEMPLATES, clip=clip_path)
    assert head.embeddings.equal(expected)


def test_another_process_that_blocks_the_cache(cached, clip_path, monkeypatch):
    expected, path = cached
    path.unlink()
    monkeypatch.setattr(files, '_LOCK_TIMEOUT', 0.3)
    monkeypatch.setattr(files, '_LOCK_REPORTED', 0.05)
    with FileLock(f'{path}.lock'):
        with pytest.warns(
            UserWarning, match='not cached: .*.lock has been held by another process'
        ):
            head = CLIPTextHead(QUERIES, TEMPLATES, clip=clip_path)
    assert head.embeddings.equal(expected) and not path.exists()


def test_the_process_that_encodes_shows_life(cached, clip_path, monkeypatch):
    _, path = cached
    path.unlink()
    part = path.with_name(f'{path.name}.part')
    found = []
    save = np.save
    monkeypatch.setattr(np, 'save', lambda *args: (found.append(part.exists()), save(*args)))
    monkeypatch.setattr(text_embeddings, '_check_rows', lambda *args: found.append(part.exists()))
    CLIPTextHead(QUERIES, TEMPLATES, clip=clip_path)
    assert found == [True, True] and not part.exists()


@pytest.mark.parametrize('value', [0, 3e38])
def test_weights_that_embed_nothing(tmp_path, monkeypatch, value):
    monkeypatch.setenv('SCLIP_CACHE_DIR', str(tmp_path / 'cache'))
    state = seeded_clip()
    state['text_projection'].fill_(value)
    torch.save(state, tmp_path / 'bad.pt')
    with pytest.raises(InputError, match=r"bad\.pt embeds the query 'cat' as zero, NaN"):
        CLIPTextHead(QUERIES, TEMPLATES, clip=str(tmp_path / 'bad.pt'))
    assert not list((tmp_path / 'cache').glob('*.npy'))


@pytest.mark.parametrize(
    'change', ['queries', 'templates', 'weights', 'quick_gelu', 'round_weights']
)
def test_other_content_is_encoded_again(head, clip_path, tmp_path, change):
    arguments = dict(queries=QUERIES, templates=TEMPLATES, clip=clip_path, quick_gelu=True)
    if change == 'weights':
        arguments['clip'] = str(tmp_path / 'other.pt')
        torch.save(seeded_clip(seed=1), arguments['clip'])
    else:
        arguments[change] = {
            'queries': [['cat', 'dog'], ['sky']],
            'templates': TEMPLATES[:1],
            'quick_gelu': False,
            'round_weights': False,
        }[change]
    other = CLIPTextHead(**arguments)
    atol = 0 if change == 'round_weights' else 1e-4
    assert not other.embeddings.allclose(head.embeddings, rtol=0, atol=atol)


def test_precomputed_embeddings(head, tmp_path):
    path = tmp_path / 'embeddings.npz'
    save_embeddings(path, head.query_set, head.embeddings)
    loaded = CLIPTextHead(embeddings=str(path))
    torch.testing.assert_close(loaded.embeddings, head.embeddings)
    assert loaded.query_set.queries == head.query_set.queries
    assert loaded.query_set.class_ids == (0, 0, 1)
    assert loaded.num_classes == 2


def _arrays(**change):
    arrays = dict(
        queries=np.array(['cat', 'sky']), class_ids=np.array([0, 1]), embeddings=np.eye(2, 4)
    )
    arrays.update(change)
    return {key: value for key, value in arrays.items() if value is not None}


def test_half_precision_embeddings_are_normalised_in_float32(tmp_path):
    path = tmp_path / 'half.npz'
    np.savez(path, **_arrays(embeddings=np.array([[3, 4, 0, 0], [0, 0, 0, 2]], dtype=np.float16)))
    _, embeddings = read_embeddings(path)
    torch.testing.assert_close(embeddings, torch.tensor([[0.6, 0.8, 0, 0], [0, 0, 0, 1]]))


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(embeddings=None), 'embeddings'),
        (dict(class_ids=np.array([0, 2])), 'cover 0 to 2'),
        (dict(class_ids=np.array([0])), '2 queries but 1 class ids'),
        (dict(embeddings=np.eye(3, 4)), '2 rows'),
        (dict(embeddings=np.full((2, 4), np.nan)), "'cat' as zero, NaN"),
        (dict(embeddings=np.array([[1, 0], [np.inf, 0]])), "'sky' as zero, NaN"),
        (dict(embeddings=np.array([[1.0, 0], [0, 0]])), "'sky' as zero, NaN"),
        (dict(embeddings=np.ones(2)), r'\[Q, D\]'),
        (dict(queries=np.array(['cat', None], dtype=object)), 'cannot be read .*allow_pickle'),
        (dict(queries=np.array('cat')), r"'queries' must be texts \[Q\]"),
        (dict(queries=np.array([b'cat', b'sky'])), r"'queries' must be texts \[Q\]"),
        (dict(class_ids=np.array(0)), r"'class_ids' must be integers \[Q\]"),
        (dict(embeddings=np.array(1.0)), r'\[Q, D\]'),
        (dict(embeddings=np.full((2, 4), 1e300)), "'cat' as zero, NaN"),
    ],
)
def test_bad_embedding_files(tmp_path, change, message):
    path = tmp_path / 'bad.npz'
    np.savez(path, **_arrays(**change))
    with pytest.raises(InputError, match=f'bad.npz.*{message}'):
        read_embeddings(path)


def test_missing_or_foreign_embedding_file(tmp_path):
    with pytest.raises(InputError, match='absent.npz.*does not exist'):
        read_embeddings(tmp_path / 'absent.npz')
    np.savez(tmp_path / 'cut.npz', **_arrays())
    content = (tmp_path / 'cut.npz').read_bytes()
    (tmp_path / 'cut.npz').write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match='cut.npz is not an .npz'):
        read_embeddings(tmp_path / 'cut.npz')
    for content, kind in (('no archive', 'a text'), ('<html>', 'a web page'), ('', 'empty')):
        (tmp_path / 'text.npz').write_text(content)
        with pytest.raises(InputError, match=f'text.npz is not an .npz file with .*, but {kind}'):
            read_embeddings(tmp_path / 'text.npz')
    os.mkfifo(tmp_path / 'pipe.npz')
    with pytest.raises(InputError, match='pipe.npz. is a named pipe, not an .npz file'):
        read_embeddings(tmp_path / 'pipe.npz')
    with pytest.raises(InputError, match='. is a folder, not an .npz file'):
        read_embeddings(tmp_path)


def test_embeddings_of_a_machine_of_other_byte_order(tmp_path):
    arrays = _arrays(embeddings=np.eye(2, 4, dtype='>f4'), class_ids=np.array([0, 1], dtype='>i8'))
    np.savez(tmp_path / 'big.npz', **arrays)
    query_set, embeddings = read_embeddings(tmp_path / 'big.npz')
    assert query_set.class_ids == (0, 1) and embeddings.equal(torch.eye(2, 4))


def test_embeddings_that_unpack_to_much_more(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / 'bomb.npz', **_arrays(embeddings=np.zeros((2, 1 << 20))))
    monkeypatch.setattr(utils_arrays, '_LARGEST', 1 << 22)
    with pytest.raises(InputError, match='bomb.npz claims to hold arrays of 0.0 GiB, at most'):
        read_embeddings(tmp_path / 'bomb.npz')


def test_embeddings_whose_header_claims_much_more(tmp_path):
    np.savez(tmp_path / 'x.npz', **_arrays())
    with zipfile.ZipFile(tmp_path / 'x.npz', 'a') as archive:
        claim = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000)}\n"
        header = b'\x93NUMPY\x01\0' + struct.pack('<H', len(claim)) + claim
        with pytest.warns(UserWarning, match='Duplicate name'):
            archive.writestr('embeddings.npy', header)
    with pytest.raises(InputError, match='x.npz cannot be read as an .npz file'):
        read_embeddings(tmp_path / 'x.npz')


@pytest.mark.parametrize('name', ['0d', 'a_enc', 'BAD_emb_1'])
def test_hostile_embedding_files(shared, tmp_path, name):
    [source] = (shared / 'cases/attack/npz').glob(f'{name}.*')
    path = tmp_path / f'{name}.npz'
    path.write_bytes(source.read_bytes())
    with pytest.raises(InputError, match=f'{name}.npz') as caught:
        read_embeddings(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(), 'needs queries'),
        (dict(queries='voc20', templates='none'), "templates='none'"),
        (dict(queries='voc20', templates=['a photo']), "'{}'"),
        (dict(queries='voc20', templates=[]), "'{}'"),
        (dict(queries='cat, ' * 200), 'class 1 has an empty query'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        CLIPTextHead(**arguments)
