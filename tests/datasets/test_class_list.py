import pytest

from sclip_mmseg import InputError
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.datasets.class_list import parse_class_list, read_class_list


@pytest.mark.parametrize(
    'text, synonyms, ids',
    [
        ('cat, kitten; dog', (('cat', 'kitten'), ('dog',)), None),
        ('cat\n# all others\n\ndog  # not wolves\n', (('cat',), ('dog',)), None),
        ('#cat\ndog', (('dog',),), None),
        ('7: road, street; 11:building', (('road', 'street'), ('building',)), (7, 11)),
        ('  0 : wall ;1： sea', (('wall',), ('sea',)), (0, 1)),
        ('65535: sky', (('sky',),), (65535,)),
        ('C# code; Q&#65;', (('C# code',), ('Q&#65;',)), None),
        ('2 euro coin; 1 euro coin', (('2 euro coin',), ('1 euro coin',)), None),
        ('1.5 litre bottle; 7', (('1.5 litre bottle',), ('7',)), None),
        (
            'wall-other; bow (weapon); rail/fence',
            (('wall-other',), ('bow (weapon)',), ('rail/fence',)),
            None,
        ),
        ('sheep’s wool; "big" cat', (('sheep’s wool',), ('"big" cat',)), None),
    ],
)
def test_the_syntax(tmp_path, text, synonyms, ids):
    found = parse_class_list(text)
    assert (found.synonyms, found.ids) == (synonyms, ids)
    (tmp_path / 'list').write_text(text, encoding='utf-8')
    for queries in (found, tmp_path / 'list', str(tmp_path / 'list')):
        query_set = load_queries(queries)
        assert query_set.by_class == [list(words) for words in synonyms]
        assert query_set.label_ids == ids


def test_a_text_where_a_list_is_asked_for():
    assert load_queries('cat, kitten; dog').by_class == [['cat', 'kitten'], ['dog']]
    assert load_queries('cat').by_class == [['cat']]
    assert load_queries(['7: cat', '8: dog, hound']).label_ids == (7, 8)
    for missing in ('absent.txt', 'lists/absent'):
        with pytest.raises(InputError, match=f'file of classes {missing} does not exist'):
            load_queries(missing)
    for missing in ('voc22', 'coco_stufff', ''):
        with pytest.raises(InputError, match=f"queries='{missing}' is neither a file nor one of"):
            load_queries(missing)


@pytest.mark.parametrize(
    'text, said',
    [
        ("['cat', 'dog']", 'in brackets'),
        ('{"cat": 0}', 'in brackets'),
        ('("cat",\n"dog")', 'in brackets'),
        ('"cat"; "dog"', 'leave the quotes of .* out: cat'),
        ("'cat', 'dog'", 'leave the quotes'),
        ('cat: 0\ndog: 1', 'the id follows the name: write 0: cat'),
        ('cat = 0', 'the id follows the name: write 0: cat'),
        ('cat -> 3', 'the id follows the name: write 3: cat'),
        ('0\tcat\n1\tdog', 'write 0: cat'),
        ('0 cat\n1 dog', 'write 0: cat'),
        ('1. cat\n2. dog', 'write 1: cat'),
        ('1) cat', 'write 1: cat'),
        ('0=cat; 1=dog', 'write 0: cat'),
        ('3 - cat', 'write 3: cat'),
        ('id,name\n0,cat\n1,dog', 'is a row of a table.* write 0: cat'),
        ('cat,5\ndog,6', 'is a row of a table.* write 5: cat'),
        ('cat: 255,0,0', 'a line of a table of colours: name such a table by --colors'),
        ('cat:255,0,0::', 'a line of a table of colours'),
        ('cat: kitten, puss', 'a colon follows a name: write synonyms as cat, kitten, puss'),
        ('- cat\n- dog', "'- cat' is not a class"),
        ('* cat', 'is not a class'),
        ('<class>cat</class>', 'is not a class'),
        ('cat | dog', 'are not separated as in'),
        ('cat\\ndog', 'are not separated as in'),
        ('cat\tdog', 'are not separated as in'),
        ('1: cat; dog', "'dog' has no id, but others have"),
        ('1: cat; 1: dog', "'cat' and 'dog' have the same id 1"),
        ('70000: cat', 'id 70000 is too large'),
        ('7:; 8: dog', 'class 1 has an empty query'),
        ('# nothing', 'no class at all'),
    ],
    ids=repr,
)
def test_other_syntaxes_are_refused_with_the_right_one(text, said):
    with pytest.raises(InputError, match=said) as error:
        parse_class_list(text, 'mine')
    assert str(error.value).startswith('mine: ') and '\n' not in str(error.value)


def test_items_of_python_are_taken_as_they_are():
    """A list is separated already: only commas and an id are parsed in its texts."""
    items = ['"cat"', '- dog', ['7: a', 'b | c']]
    assert read_class_list(items).synonyms == (('"cat"',), ('- dog',), ('7: a', 'b | c'))
