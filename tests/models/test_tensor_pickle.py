"""Checkpoints that hold more than tensors are read, and nothing in them is run."""

import collections
import os
import pickle
import sys
import tarfile

import pytest
import torch

from sclip_mmseg import InputError
from sclip_mmseg.towers import read_tensors

WEIGHT = torch.arange(6.0).reshape(2, 3)


class Reduced:
    """Pickles as a call."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


class Config(dict):
    """A class that the reader shall not find."""


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module whose import leaves a file, and that file."""
    (tmp_path / 'trap_module.py').write_text(
        f'open({str(tmp_path / "imported")!r}, "w").close()\n'
        'class Gadget(dict):\n    pass\n'
        'def run(*arguments):\n    open(arguments[0], "w").close()\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / 'imported'


def _forget(trap):
    """Undo what making the file imported."""
    sys.modules.pop('trap_module', None)
    trap.unlink(missing_ok=True)


@pytest.fixture(params=[True, False], ids=['zip', 'legacy'])
def save(request, tmp_path):
    """Save to a file of either of torch's formats."""

    def save(content):
        path = tmp_path / 'file.pth'
        torch.save(content, path, _use_new_zipfile_serialization=request.param)
        return path

    return save


def test_a_training_s_file(save):
    config = Config(lr=0.1)
    config.nested = [Config(), {Config}, (Config,)]
    model = collections.OrderedDict(weight=WEIGHT, half=WEIGHT.half(), counts=torch.arange(3))
    model['view'] = WEIGHT.T
    model['parameter'] = torch.nn.Parameter(WEIGHT)
    content = dict(
        model=model,
        config=config,
        metrics=collections.defaultdict(list, a=[1.0]),
        optimizer=torch.optim.AdamW([torch.nn.Parameter(WEIGHT)]).state_dict(),
        path=__import__('pathlib').PurePosixPath('/x'),
    )
    found = read_tensors(save(content))
    assert found.keys() == model.keys()
    for key, value in model.items():
        assert found[key].equal(value) and found[key].dtype == value.dtype


def _attacks(mark):
    """Objects whose unpickling would make the file ``mark``, or is forged."""
    import trap_module

    command = f'touch {mark}'
    return {
        'os.system': Reduced(os.system, command),
        'eval': Reduced(eval, f'open({mark!r}, "w")'),
        'exec': Reduced(exec, f'open({mark!r}, "w")'),
        'getattr': Reduced(getattr, Reduced(__import__, 'os'), 'system'),
        'a call of what a call gave': Reduced(Reduced, os.system, command),
        'import': trap_module.Gadget(a=1),
        'function': Reduced(trap_module.run, mark),
        'state': Reduced(trap_module.Gadget, state={'a': Reduced(os.system, command)}),
        'ordered dict': collections.OrderedDict(a=Reduced(os.system, command)),
        'jit': Reduced(torch.jit.load, mark),
        'load': Reduced(torch.load, mark),
        'from_file': Reduced(torch.UntypedStorage.from_file, mark, True, 8),
    }


_NAMES = (
    'os.system|eval|exec|getattr|a call of what a call gave|import|function|state|ordered dict|'
    'jit|load|from_file'
).split('|')
_PLACES = {
    'in the state dict': lambda evil: dict(model=dict(weight=WEIGHT, evil=evil)),
    'beside it': lambda evil: dict(model=dict(weight=WEIGHT), evil=[evil]),
    'in its place': lambda evil: dict(state_dict=evil),
    'as all': lambda evil: evil,
    'as a key': lambda evil: dict(model={'weight': WEIGHT}, keys=[(evil, 'x')]),
}


@pytest.mark.parametrize('place', _PLACES)
@pytest.mark.parametrize('name', _NAMES)
def test_planted_code_is_not_run(save, trap, tmp_path, name, place):
    mark = tmp_path / 'marked'
    path = save(_PLACES[place](_attacks(str(mark))[name]))
    _forget(trap)
    mark.unlink(missing_ok=True)
    try:
        assert set(read_tensors(path)) <= {'weight'}
    except InputError as error:
        assert 'file.pth' in str(error) and 'Save only the state dict' in str(error)
    assert not mark.exists() and not trap.exists() and 'trap_module' not in sys.modules


def test_the_attacks_would_work(trap, tmp_path):
    """Plain unpickling falls for them, so the test above can fail."""
    mark = tmp_path / 'marked'
    attacks = _attacks(str(mark))
    for name in ('os.system', 'eval', 'exec', 'function'):
        torch.save(dict(model=attacks[name]), tmp_path / 'file.pth')
        assert not mark.exists()
        torch.load(tmp_path / 'file.pth', weights_only=False)
        assert mark.exists()
        mark.unlink()
    torch.save(dict(a=attacks['import']), tmp_path / 'file.pth')
    _forget(trap)
    torch.load(tmp_path / 'file.pth', weights_only=False)
    assert trap.exists()


@pytest.mark.parametrize(
    'arguments',
    [
        (),
        ('x',),
        (Config(), 0, (2, 3), (3, 1), False, {}),
        (WEIGHT.untyped_storage(), 0, (2, 3), (3, 1), False, {}),
        ([0.0] * 6, 0, (2, 3), (3, 1), False, {}),
    ],
    ids=['none', 'one', 'object', 'untyped', 'list'],
)
@pytest.mark.parametrize('name', ['_rebuild_tensor_v2', '_rebuild_parameter'])
def test_forged_rebuilding(save, name, arguments):
    content = dict(model=dict(forged=Reduced(getattr(torch._utils, name), *arguments), c=Config()))
    with pytest.raises(InputError, match='file.pth (cannot be read as a|contains no tensors)'):
        read_tensors(save(content))


def test_a_tensor_beyond_its_storage(save):
    storage = torch.arange(4.0).storage()
    forged = Reduced(
        torch._utils._rebuild_tensor_v2, storage, 0, (100,), (1,), False, collections.OrderedDict()
    )
    with pytest.raises(InputError):
        read_tensors(save(dict(model=dict(forged=forged), config=Config())))


@pytest.mark.parametrize('name', ['_rebuild_tensor_v3x', '_rebuild_device_tensor_from_numpy'])
def test_names_like_the_allowed_ones(tmp_path, name):
    """``torch._utils.NAME('x')``, written by hand, opcode by opcode."""
    pickled = b'\x80\x02' + f'ctorch._utils\n{name}\n'.encode() + b'U\x01x\x85R.'
    path = tmp_path / 'file.pth'
    torch.save(dict(model=dict(weight=WEIGHT)), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    start = content.index(pickle.dumps({}, 2)[:2] + b'}')  # after the header's three pickles
    path.write_bytes(content[:start] + pickled)
    with pytest.raises(InputError):
        read_tensors(path)


def test_dotted_names_reach_nothing(tmp_path):
    from sclip_mmseg.towers.tensor_pickle import Inert, Unpickler, no_storages

    unpickler = Unpickler(open(os.devnull, 'rb'), no_storages)
    for module, name in (
        ('collections', 'OrderedDict.fromkeys'),
        ('torch._utils', '_rebuild_tensor_v2.__globals__'),
        ('torch', 'UntypedStorage.from_file'),
        ('builtins', 'eval'),
        ('sclip_mmseg.towers.tensor_pickle', 'load'),
    ):
        assert issubclass(unpickler.find_class(module, name), Inert)
    assert unpickler.find_class('collections', 'OrderedDict') is collections.OrderedDict


def test_an_archive_is_not_extracted(tmp_path):
    path = tmp_path / 'file.pth'
    with tarfile.open(path, 'w') as tar:
        for name in ('storages', 'tensors', 'pickle', 'sys_info'):
            (tmp_path / name).write_bytes(pickle.dumps(Reduced(os.system, 'true')))
            tar.add(tmp_path / name, name)
    with pytest.raises(InputError, match='file.pth is a tar archive, not a checkpoint: unpack it'):
        read_tensors(path)
