from sclip_mmseg.utils.words import counted


def test_counted():
    assert [counted(n, 'prompt') for n in (0, 1, 2)] == ['0 prompts', '1 prompt', '2 prompts']
    assert [counted(n, 'query', 'queries') for n in (1, 3)] == ['1 query', '3 queries']
