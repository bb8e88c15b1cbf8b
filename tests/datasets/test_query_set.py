import time

import pytest
from mmseg.registry import DATASETS

from sclip_mmseg import InputError
from sclip_mmseg.apis import parse_classes
from sclip_mmseg.datasets import QUERY_LISTS, load_queries, voc_palette


def _classes(name):
    return DATASETS.get(QUERY_LISTS[name]).METAINFO['classes']


def _grouped(name):
    return load_queries(name).by_class


@pytest.mark.parametrize(
    'name, classes, queries',
    [
        ('ade20k', 150, 150),
        ('cityscapes', 19, 19),
        ('coco_stuff', 171, 171),
        ('context59', 59, 59),
        ('context60', 60, 60),
        ('voc20', 20, 30),
        ('voc21', 21, 56),
        ('coco_object', 81, 113),
        ('coco_object_repaired', 81, 112),
    ],
)
def test_sizes_of_the_shipped_lists(name, classes, queries):
    query_set = load_queries(name)
    assert (query_set.num_classes, len(query_set.queries)) == (classes, queries)
    assert query_set.class_names == tuple(_classes(name))
    assert len(query_set.palette) == classes
    assert list(query_set.class_ids) == sorted(query_set.class_ids)


@pytest.mark.parametrize('name', ['ade20k', 'cityscapes', 'coco_stuff'])
def test_names_without_spaces(name):
    assert _grouped(name) == [[c.replace(' ', '')] for c in _classes(name)]


@pytest.mark.parametrize('name', ['context59', 'context60'])
def test_names_as_in_mmseg(name):
    assert _grouped(name) == [[c] for c in _classes(name)]


def test_synonyms():
    voc20, voc21 = _grouped('voc20'), _grouped('voc21')
    assert voc21[1:] == voc20
    assert len(voc21[0]) == 26
    changed = {c: q for c, q in zip(_classes('voc20'), voc20) if q != [c]}
    assert changed == {
        'boat': ['ship'],
        'diningtable': ['table'],
        'person': [
            'person',
            *(f'person in {x}' for x in 'shirt jeans dress sweater skirt jacket'.split()),
        ],
        'tvmonitor': ['television monitor', 'tv monitor', 'monitor', 'television', 'screen'],
    }
    coco = _grouped('coco_object')
    assert coco[0] == voc21[0]
    changed = {c: q for c, q in zip(_classes('coco_object')[1:], coco[1:]) if q != [c]}
    assert changed == {'person': [*voc20[14], 'body']}


def test_the_repaired_list_differs_by_bed_alone():
    published, repaired = _grouped('coco_object'), _grouped('coco_object_repaired')
    assert published[60] == ['bed']
    assert set(published[0]) - set(repaired[0]) == {'bed'}
    assert published[1:] == repaired[1:]


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', QUERY_LISTS)
def test_shipped_lists_load_without_warning(name):
    load_queries(name)


def test_a_file(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('sky, clouds\ncat\n')
    query_set = load_queries(str(path))
    assert query_set.queries == ('sky', 'clouds', 'cat')
    assert query_set.class_ids == (0, 0, 1)
    assert query_set.class_names == ('sky', 'cat')


def test_a_file_of_windows(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes(b'\xef\xbb\xbfsky\r\ncat\r\n')
    assert load_queries(str(path)).queries == ('sky', 'cat')


def test_empty_lines_are_left_out(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes(b'\xef\xbb\xbf\r\nsky, clouds\r\n\r\n \t\r\ncat\r\n\r\n')
    assert load_queries(str(path)).by_class == [['sky', 'clouds'], ['cat']]
    path.write_text('\n \n')
    with pytest.raises(InputError, match='no class at all'):
        load_queries(str(path))


def test_no_text(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes(b'caf\xe9')
    with pytest.raises(InputError, match='classes.txt is not UTF-8'):
        load_queries(str(path))
    with pytest.raises(InputError, match='class 1 must be text or a list, not 1'):
        load_queries([1, 2])


def test_queries_by_class():
    assert load_queries([['sky', 'clouds'], 'cat']).by_class == [['sky', 'clouds'], ['cat']]


def test_a_list():
    assert load_queries([['sky', 'clouds'], 'cat, kitten', ['dog']]).class_ids == (0, 0, 1, 1, 2)


@pytest.mark.parametrize('text', ['sky\ncat,\n', 'sky\n, cat', 'sky\n\ncat,,kitten'])
def test_an_empty_query_in_a_file(tmp_path, text):
    path = tmp_path / 'classes.txt'
    path.write_text(text)
    with pytest.raises(InputError, match=r'classes.txt: class 2 has an empty query'):
        load_queries(str(path))


def test_empty_lists(tmp_path):
    (tmp_path / 'empty.txt').touch()
    for queries in ([], str(tmp_path / 'empty.txt')):
        with pytest.raises(InputError, match='no class at all'):
            load_queries(queries)
    with pytest.raises(InputError, match='class 2 has an empty query'):
        load_queries([['sky'], []])


def test_unknown_name():
    with pytest.raises(InputError, match="queries='voc22' is neither a file nor one of voc21"):
        load_queries('voc22')


def test_a_query_of_two_classes_is_warned_of():
    said = (
        r"'bed' stands for classes 0 \('sky'\) and 2 \('bed'\); the two always tie, and the first"
    )
    with pytest.warns(UserWarning, match=said):
        load_queries([['sky', 'bed'], ['cat'], ['bed']])


@pytest.mark.parametrize(
    'first, second',
    [
        ('Sea', 'sea'),
        ('sea  water', 'sea water'),
        ('sea\u3000water', 'sea water'),
        ("sheep's wool", 'sheep’s wool'),
        ('“cat”', '"cat"'),
        ('cat &amp; dog', 'cat & dog'),
        ('cat &amp;amp; dog', 'cat & dog'),
        ('&#99;at', 'cat'),
        ('&nbsp;cat', 'cat'),
        ('ｃａｔ', 'cat'),
        ('cafe\u0301', 'café'),
        ('cafÃ©', 'café'),
        ('ﬁsh', 'fish'),
        ('cat-dog', 'cat - dog'),
        ('\x07cat', 'cat'),
    ],
)
def test_queries_that_are_one_to_the_tokenizer(first, second):
    said = "'(.*)', which is '.*' to CLIP's tokenizer, stands for classes 0 .* and 2 .* always tie"
    with pytest.warns(UserWarning, match=said):
        load_queries([first, 'cow', second])
    with pytest.warns(UserWarning, match='always tie'):  # a synonym
        load_queries([['cow', second], ['bird', first]])


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    'first, second', [('cat.', 'cat'), ('cat', 'cats'), ('…', '...'), ('café', 'cafe'), ('İ', 'i')]
)
def test_queries_that_differ_to_the_tokenizer(first, second):
    load_queries([first, second])
    load_queries([[first, second, first.upper()], ['sky']])  # alike within a class


@pytest.mark.parametrize(
    'query, said',
    [
        ('\x07', 'is empty to CLIP'),
        ('&nbsp;', 'is empty to CLIP'),
        ('\ufeff', 'is empty to CLIP'),
        ('a <|endoftext|> dog', 'start or end token'),
        ('<|STARTOFTEXT|>', 'start or end token'),
        ('caf\udce9', 'is not Unicode text'),
        ('x' * 10_000_000, 'a query of 10000000 characters'),
        ('word ' * 400, 'a query of 1999 characters'),
        ('sheep; bottle', 'semicolons and line breaks separate classes'),
        ('sheep；bottle', 'semicolons and line breaks separate classes'),
        ('sheep\nbottle', 'semicolons and line breaks separate classes'),
    ],
    ids=repr,
)
def test_queries_that_are_none(query, said):
    for classes in (['cat', query], ['cat', ['dog', query]]):
        with pytest.raises(InputError, match=said) as error:
            load_queries(classes)
        assert '\n' not in str(error.value) and len(str(error.value)) < 250


@pytest.mark.parametrize(
    'text, classes',
    [
        ('sheep; bottle\ncow', ['sheep', 'bottle', 'cow']),
        ('sheep；bottle', ['sheep', 'bottle']),
        ('sea; cow;', ['sea', 'cow']),
        ('sea; cow; ;\n', ['sea', 'cow']),
        ('cat &amp; dog; cow', ['cat &amp; dog', 'cow']),
        ('cat &#38; dog; cow', ['cat &#38; dog', 'cow']),
        ('salt &pepper; cow', ['salt &pepper', 'cow']),
        ('salt &amp;pepper; cow', ['salt &amp;pepper', 'cow']),
        ('Q&A; cow', ['Q&A', 'cow']),
        ('cat，kitten； dog、hound；', [['cat', 'kitten'], ['dog', 'hound']]),
        ('قط، هر؛ كلب', [['قط', 'هر'], ['كلب']]),
    ],
)
def test_separators(tmp_path, text, classes):
    expected = load_queries(classes).by_class
    assert load_queries(parse_classes(text)).by_class == expected
    (tmp_path / 'classes.txt').write_text(text, encoding='utf-8')
    assert load_queries(str(tmp_path / 'classes.txt')).by_class == expected


def test_long_lists_take_no_long_time(tmp_path):
    """Parsing that is not linear takes minutes, or all memory."""
    path = tmp_path / 'classes.txt'
    start = time.process_time()
    path.write_text('\n'.join(f'thing {index}' for index in range(100_000)))
    with pytest.raises(InputError, match='has 100000 queries: 65535 are taken at most'):
        load_queries(str(path))
    path.write_text(', '.join(f'thing {index}' for index in range(100_000)))
    with pytest.raises(InputError, match='has 100000 queries: 65535 are taken at most'):
        load_queries(str(path))
    path.write_text('word ' * 2_000_000)
    with pytest.raises(InputError, match='a query of 9999999 characters'):
        load_queries(str(path))
    path.write_bytes(bytes(1 << 25))
    with pytest.raises(InputError, match='is not a list of classes: it has more than 16 MiB'):
        load_queries(str(path))
    assert load_queries([f'thing {index}' for index in range(20_000)]).num_classes == 20_000
    assert time.process_time() - start < 20


def test_palette_is_voc_s():
    assert voc_palette(21) == DATASETS.get('PascalVOCDataset').METAINFO['palette']
    assert len({tuple(color) for color in voc_palette(1000)}) == 1000
