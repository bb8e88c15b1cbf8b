"""Converters on small archives in each official format."""

import gc
import hashlib
import io
import json
import os
import tarfile
import threading
import warnings
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from mmseg.datasets import PascalContextDataset
from PIL import Image
from scipy.io import savemat

from sclip_mmseg import InputError
from sclip_mmseg.cli import prepare_data
from sclip_mmseg.datasets.benchmarks import BENCHMARKS, Archive
from sclip_mmseg.datasets.preparation import archives, pascal_context
from sclip_mmseg.datasets.preparation.archives import FileEntry
from sclip_mmseg.datasets.preparation.converters import Converter
from sclip_mmseg.datasets.preparation.tasks import Task

CLASSES = PascalContextDataset.METAINFO['classes']
# As the official file numbers them: VOC's 20 first.
VOC = 'aeroplane bicycle bird boat bottle bus car cat chair cow table dog horse motorbike person '
VOC += 'pottedplant sheep sofa train tvmonitor'
NAMES59 = [*VOC.split(), *(name for name in CLASSES[1:] if name not in VOC.split())]
IDS = np.array([[0, 1, 2], [7, 8, 33]], dtype=np.uint8)


def encode(array, kind):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def mat(**variables):
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=True)
    return buffer.getvalue()


JPG = encode(np.zeros((2, 3, 3), dtype=np.uint8), 'JPEG')
PNG = encode(IDS, 'PNG')


def write_zip(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_tar(path, files, mode='w'):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_files(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def label_at(path):
    return np.array(Image.open(path))


def voc_files(year, names=('a', 'b'), split='Segmentation'):
    root = f'VOCdevkit/VOC{year}'
    files = {f'{root}/ImageSets/{split}/val.txt': '\n'.join(names).encode()}
    for name in (*names, 'train'):
        files[f'{root}/JPEGImages/{name}.jpg'] = JPG
        files[f'{root}/SegmentationClass/{name}.png'] = PNG
    return files


COCO = {
    'val2017.zip': {'val2017/000000000139.jpg': JPG},
    'stuffthingmaps_trainval2017.zip': {
        # person, bicycle, stop sign (12th); toothbrush, first and last stuff; void.
        'val2017/000000000139.png': encode(
            np.array([[0, 1, 12], [89, 91, 181], [255, 255, 255]], dtype=np.uint8), 'PNG'
        ),
        'train2017/000000000009.png': PNG,
    },
}


def without_digests(monkeypatch):
    """Let archives made here pass for the published ones."""
    assert pascal_context.VOC2010.digest
    archive = replace(pascal_context.VOC2010, digest=None)
    monkeypatch.setattr(pascal_context, 'VOC2010', archive)
    for name in ('voc21', 'voc20', 'coco_object', 'coco_stuff164k'):
        first, *others = BENCHMARKS[name].archives
        assert first.digest
        set_archives(monkeypatch, name, replace(first, digest=None), *others)


def set_archives(monkeypatch, benchmark, *archives):
    record = replace(BENCHMARKS[benchmark], archives=archives)
    monkeypatch.setitem(BENCHMARKS, benchmark, record)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / 'raw'
    folder.mkdir()
    return folder


@pytest.fixture
def run(tmp_path, raw, monkeypatch, capsys):
    """Run the tool in this process, without comparing digests; returns its exit code and text."""
    without_digests(monkeypatch)

    def run(*arguments):
        argv = [*arguments, '--raw', raw, '--data-root', tmp_path / 'out', '--nproc', 2]
        try:
            prepare_data.main(list(map(str, argv)))
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().out

    return run


def snapshot(folder):
    return {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob('*'))
        if '.lock' not in path.name
    }


def test_archives_are_closed(raw, run):
    write_tar(raw / 'VOCtrainval_11-May-2012.tar', voc_files(2012))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert run('voc21')[0] == 0
        archives._opened.clear()  # whatever is still open is heard of
        gc.collect()
    assert not [warning for warning in caught if warning.category is ResourceWarning]


def test_voc_of_a_tar(tmp_path, raw, run):
    write_tar(raw / 'VOCtrainval_11-May-2012.tar', voc_files(2012))
    before = snapshot(raw)
    code, output = run('voc20', 'voc21')
    assert code == 0
    assert 'voc20: 2 images; 5 files made' in output and 'voc21:' not in output
    assert '2 images, the published split has 1449' in output
    root = tmp_path / 'out/VOCdevkit/VOC2012'
    assert (root / 'SegmentationClass/a.png').read_bytes() == PNG
    assert sorted(path.name for path in (root / 'JPEGImages').iterdir()) == ['a.jpg', 'b.jpg']
    first = snapshot(tmp_path / 'out')
    (root / 'JPEGImages/b.jpg').unlink()
    assert '1 files made, 4 were there' in run('voc21')[1]
    assert {p: c for p, (_, c) in snapshot(tmp_path / 'out').items()} == {
        p: c for p, (_, c) in first.items()
    }
    assert '0 files made' in run('voc21')[1]
    assert snapshot(raw) == before


def test_extracted_files_are_linked_not_copied(tmp_path, raw, run):
    write_files(raw / 'somewhere', voc_files(2012))
    assert run('voc21')[0] == 0
    source = raw / 'somewhere/VOCdevkit/VOC2012/JPEGImages/a.jpg'
    assert (tmp_path / 'out/VOCdevkit/VOC2012/JPEGImages/a.jpg').samefile(source)


def test_copies_where_links_are_impossible(tmp_path, raw, run, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError('cross-device link')

    monkeypatch.setattr(os, 'link', refuse)  # the processes are forked
    write_files(raw, voc_files(2012))
    assert run('voc21')[0] == 0
    source, target = (
        folder / 'VOCdevkit/VOC2012/JPEGImages/a.jpg' for folder in (raw, tmp_path / 'out')
    )
    assert target.read_bytes() == JPG and not target.samefile(source)


def test_a_file_is_whole_or_absent(tmp_path, raw, run, monkeypatch):
    write_tar(raw / 'VOCtrainval_11-May-2012.tar', voc_files(2012))
    with monkeypatch.context() as patch:
        patch.setattr(Path, 'write_bytes', write_half)
        code, output = run('voc21')
    assert code and 'cannot be written: No space left' in output
    files = [path for path in (tmp_path / 'out').rglob('*.*') if '.lock' not in path.name]
    assert files and all(path.suffix == '.part' for path in files)
    assert '5 files made' in run('voc21')[1]
    assert not list((tmp_path / 'out').rglob('*.part'))


def write_half(path, content):
    with open(path, 'wb') as file:
        file.write(content[: len(content) // 2])
    raise OSError('No space left on device')


def test_a_folder_in_its_place_already(raw, run, tmp_path):
    write_files(tmp_path / 'out', voc_files(2012))
    before = snapshot(tmp_path / 'out')
    (tmp_path / 'raw').rmdir()
    (tmp_path / 'raw').symlink_to(tmp_path / 'out')
    assert '0 files made, 5 were there' in run('voc21')[1]
    assert snapshot(tmp_path / 'out') == before


def test_coco_stuff_and_object(tmp_path, raw, run):
    for name, files in COCO.items():
        write_zip(raw / name, files)
    assert run('coco_object', 'coco_stuff164k')[0] == 0
    out = tmp_path / 'out'
    stuff = out / 'coco_stuff164k/annotations/val2017/000000000139_labelTrainIds.png'
    assert label_at(stuff).tolist() == [[0, 1, 11], [79, 80, 170], [255, 255, 255]]
    objects = out / 'coco_object/annotations/val2017/000000000139_instanceTrainIds.png'
    assert label_at(objects).tolist() == [[1, 2, 12], [80, 0, 0], [0, 0, 0]]
    assert (out / 'coco_object/images/val2017/000000000139.jpg').read_bytes() == JPG
    assert len(list(out.rglob('*.jpg'))) == len(list(out.rglob('*.png'))) == 2


def test_coco_object_shares_its_images_with_coco_stuff(tmp_path, raw, run):
    for name, files in COCO.items():
        write_zip(raw / name, files)
    run('coco_stuff164k')
    run('coco_object')
    first, second = (tmp_path / 'out').rglob('000000000139.jpg')
    assert first.samefile(second)


def test_coco_stuff_10k(tmp_path, raw, run):
    numbers = np.array([[0, 1, 2], [90, 92, 182]], dtype=np.uint16)
    files = {'imageLists/test.txt': b'COCO_train2014_000000000077\n'}
    for name in ('77', '99'):
        stem = f'COCO_train2014_0000000000{name}'
        files[f'annotations/{stem}.mat'] = mat(S=numbers, names='others')
        files[f'images/{stem}.jpg'] = JPG
    write_zip(raw / 'cocostuff-10k-v1.1.zip', files)
    assert run('coco_stuff10k')[0] == 0
    [label] = (tmp_path / 'out').rglob('*_labelTrainIds.png')
    assert label.name == 'COCO_train2014_000000000077_labelTrainIds.png'
    assert label_at(label).tolist() == [[0, 1, 2], [80, 81, 171]]


@pytest.mark.parametrize('content', [b'', b'MATLAB 7.3 MAT-file'.ljust(124) + b'\0\2IM', mat(T=1)])
def test_no_matlab_file(raw, run, content):
    name = 'COCO_train2014_000000000077'
    files = {'imageLists/test.txt': name.encode(), f'images/{name}.jpg': JPG}
    write_zip(raw / 'cocostuff-10k-v1.1.zip', {**files, f'annotations/{name}.mat': content})
    code, output = run('coco_stuff10k')
    assert code and f'annotations/{name}.mat cannot be read' in output


def test_cityscapes(tmp_path, raw, run):
    city = 'val/ulm/ulm_000000_000019'
    write_zip(raw / 'leftImg8bit_trainvaltest.zip', {f'leftImg8bit/{city}_leftImg8bit.png': JPG})
    labels = {f'gtFine/{city}_gtFine_{kind}.png': PNG for kind in ('labelIds', 'instanceIds')}
    write_zip(raw / 'gtFine_trainvaltest.zip', labels)
    assert run('cityscapes', '--download')[0] == 0
    [label] = (tmp_path / 'out/cityscapes/gtFine').rglob('*.png')
    assert label.name == 'ulm_000000_000019_gtFine_labelTrainIds.png'
    assert label_at(label).tolist() == [[255, 255, 255], [0, 1, 18]]


def write_raw(raw, benchmark, ids):
    """Write the raw data of a benchmark, its labels having the given ids; the number of files."""
    label = np.resize(np.array(ids), (2, 3))
    if benchmark == 'cityscapes':
        files = {}
        for name in ('a', 'b'):
            city = f'val/ulm/{name}'
            files[f'leftImg8bit/{city}_leftImg8bit.png'] = JPG
            content = IDS if name == 'a' else label
            files[f'gtFine/{city}_gtFine_labelIds.png'] = encode(content, 'PNG')
    elif benchmark == 'coco_stuff10k':
        files = {'imageLists/test.txt': b'COCO_train2014_1\nCOCO_train2014_2\n'}
        for name, content in (('1', np.ones((2, 3))), ('2', label)):
            files[f'annotations/COCO_train2014_{name}.mat'] = mat(S=content)
            files[f'images/COCO_train2014_{name}.jpg'] = JPG
    else:
        files = {
            'val2017/1.jpg': JPG,
            'val2017/2.jpg': JPG,
            'val2017/1.png': encode(label * 0, 'PNG'),
        }
        files['val2017/2.png'] = encode(label, 'PNG')
    write_files(raw, files)


@pytest.mark.parametrize(
    'benchmark, ids',
    [
        ('coco_stuff164k', np.array([0, 11], np.uint8)),
        ('coco_stuff164k', np.array([1, 182], np.uint8)),
        ('coco_stuff164k', np.array([0, 256], np.uint16)),
        ('coco_object', np.array([0, 254], np.uint8)),
        ('coco_object', np.array([0, 90], np.uint8)),
        ('cityscapes', np.array([7, 34], np.uint8)),
        ('cityscapes', np.array([7, 255], np.uint8)),
        ('coco_stuff10k', np.array([1, 183], np.uint8)),
        ('coco_stuff10k', np.array([1, 91], np.uint16)),
        ('coco_stuff10k', np.array([1, 2.5])),
    ],
)
def test_ids_that_the_raw_labels_do_not_have(tmp_path, raw, run, benchmark, ids):
    write_raw(raw, benchmark, ids)
    code, output = run(benchmark)
    [strange] = ids[1:].tolist()
    assert code and f'holds ids [{strange}], which these label maps do not have' in output
    assert not [path for path in (tmp_path / 'out').rglob('*TrainIds.png')]
    write_raw(raw, benchmark, ids[:1])
    assert run(benchmark)[0] == 0


def test_ids_beyond_the_459(tmp_path):
    entry = FileEntry(tmp_path / 'a.mat')
    for largest, message in ((459, None), (460, r'a.mat holds ids \[460\]')):
        entry.path.write_bytes(mat(LabelMap=np.array([[0, largest]], np.uint16)))
        if message is None:
            assert pascal_context.read_mat(entry, pascal_context._FROM_459).tolist() == [[0, 0]]
        else:
            with pytest.raises(InputError, match=message):
                pascal_context.read_mat(entry, pascal_context._FROM_459)


@pytest.mark.parametrize('variable', [np.zeros((2, 2, 2)), 'text', {'a': 1}, np.array([[1j, 2]])])
def test_a_variable_that_is_not_a_label_map(tmp_path, variable):
    entry = FileEntry(tmp_path / 'a.mat')
    entry.path.write_bytes(mat(LabelMap=variable))
    with pytest.raises(InputError, match=r'a.mat (is not a label map|holds ids|cannot be read)'):
        pascal_context.read_mat(entry, pascal_context._FROM_459)


@pytest.mark.parametrize(
    'change',
    [
        lambda data: data['annos_segmentation'][0].update(category_id='2'),
        lambda data: data['annos_segmentation'][0].update(category_id=460),
        lambda data: data['annos_segmentation'][0].update(segmentation=[[1, 2, 3, 4]]),
        lambda data: data['annos_segmentation'][0]['segmentation'].update(counts=[1, 10**12]),
        lambda data: data['annos_segmentation'][0]['segmentation'].update(counts=[-1, 10]),
        lambda data: data['annos_segmentation'][0]['segmentation'].update(counts=['a']),
        lambda data: data['annos_segmentation'][0]['segmentation'].update(counts='\x01~~~~'),
        lambda data: data['annos_segmentation'][0]['segmentation'].update(size=3),
        lambda data: data['images'][0].update(height=10**9, width=10**9),
        lambda data: data['images'][0].update(height=0),
        lambda data: data['images'][0].pop('file_name'),
        lambda data: data.update(images='text'),
    ],
)
def test_a_json_with_invalid_values(raw, run, change):
    write_tar(raw / 'VOCtrainval_03-May-2010.tar', voc_files(2010, ('a', 'b'), 'Main'))
    data = context_json()
    change(data)
    (raw / 'trainval_merged.json').write_text(json.dumps(data))
    code, output = run('context59')
    assert code and f'{raw / "trainval_merged.json"} ' in output


@pytest.mark.parametrize('content', [b'\xff\xfe', b'[' * 100_000, b'{}', b''])
def test_a_file_that_is_not_json(raw, run, content):
    write_tar(raw / 'VOCtrainval_03-May-2010.tar', voc_files(2010, ('a', 'b'), 'Main'))
    (raw / 'trainval_merged.json').write_bytes(content)
    code, output = run('context59')
    assert code and f'{raw / "trainval_merged.json"} ' in output


@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_files_that_claim_to_be_huge(raw, run, monkeypatch, kind):
    monkeypatch.setattr(archives, '_LARGEST', 10)
    if kind == 'zip':
        write_zip(raw / 'ADEChallengeData2016.zip', ade_files())
    else:
        write_tar(raw / 'VOCtrainval_11-May-2012.tar', voc_files(2012))
    code, output = run({'zip': 'ade20k', 'tar': 'voc21'}[kind])
    assert code and 'claims to have 0 GiB' in output


def test_an_array_that_claims_to_be_huge(tmp_path, monkeypatch):
    entry = FileEntry(tmp_path / 'a.mat')
    entry.path.write_bytes(mat(LabelMap=np.zeros((20, 20), np.uint8)))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 399)
    with pytest.raises(InputError, match=r'a.mat claims to hold an image of \(20, 20\) pixels'):
        pascal_context.read_mat(entry, pascal_context._FROM_459)


def test_a_label_that_claims_to_be_huge(raw, run, monkeypatch):
    write_raw(raw, 'coco_stuff164k', np.zeros(1, np.uint8))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 2)
    code, output = run('coco_stuff164k')
    assert code and '1.png cannot be read: Image size (6 pixels) exceeds limit' in output


def test_a_split_that_is_not_text(raw, run):
    files = voc_files(2012)
    files['VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt'] = b'\xff\xff'
    write_tar(raw / 'VOCtrainval_11-May-2012.tar', files)
    code, output = run('voc21')
    assert code and 'val.txt cannot be read' in output


def test_an_encrypted_archive(raw, run):
    path = raw / 'ADEChallengeData2016.zip'
    write_zip(path, ade_files())
    content = bytearray(path.read_bytes())
    start = 0
    while (start := content.find(b'PK\x01\x02', start)) >= 0:
        content[start + 8] |= 1
        start += 1
    path.write_bytes(content)
    code, output = run('ade20k')
    assert code and 'cannot be read' in output and 'encrypted' in output


def test_a_pipe_among_the_raw_files(raw, run):
    os.mkfifo(raw / 'ADEChallengeData2016.zip')
    code, output = run('ade20k')
    assert code and 'holds neither ADEChallengeData2016.zip nor' in output


def test_a_process_that_crashes(raw, run, monkeypatch):
    monkeypatch.setattr(Converter, 'plan', lambda *args: [Task(raw / 'a.png', Crash())] * 8)
    write_zip(raw / 'ADEChallengeData2016.zip', ade_files())
    code, output = run('ade20k')
    assert code and 'a process was killed or crashed at a crash' in output


class Crash:
    archive = None

    def read(self):
        os._exit(1)

    def __str__(self):
        return 'a crash'


def test_cityscapes_wants_a_login(raw, run):
    code, output = run('cityscapes', '--download')
    assert code and 'leftImg8bit_trainvaltest.zip' in output and 'log in there' in output


def ade_files():
    folder = 'ADEChallengeData2016'
    name = 'ADE_val_00000001'
    return {
        f'{folder}/images/validation/{name}.jpg': JPG,
        f'{folder}/annotations/validation/{name}.png': PNG,
        f'{folder}/images/training/ADE_train_00000001.jpg': JPG,
    }


def test_ade20k(tmp_path, raw, run):
    write_zip(raw / 'ADEChallengeData2016.zip', ade_files())
    assert run('ade20k')[0] == 0
    files = (path for path in (tmp_path / 'out/ade').rglob('*') if path.is_file())
    assert sorted(path.name for path in files) == ['ADE_val_00000001.jpg', 'ADE_val_00000001.png']


# Ids among the 459 categories of aeroplane, wood and the first that is none of the 59.
LABELS459 = np.array([[2, 458, 1], [2, 2, 458], [0, 3, 459]])
EXPECTED = [[1, 59, 0], [1, 1, 59], [0, 0, 0]]


def context_json(names=('a',)):
    """Run lengths down the columns, as a list and in COCO's text."""
    segments = [(2, [0, 2, 2, 1, 4]), (458, '3130N')]
    images = [
        dict(image_id=i, file_name=f'{name}.jpg', height=3, width=3, phase='val')
        for i, name in enumerate(names)
    ]
    images.append(dict(image_id=99, file_name='train.jpg', height=3, width=3, phase='train'))
    annotations = [
        dict(image_id=i, category_id=category, segmentation=dict(size=[3, 3], counts=counts))
        for i in range(len(names))
        for category, counts in segments
    ]
    return dict(images=images, annos_segmentation=annotations)


def test_context_of_the_json(tmp_path, raw, run):
    write_tar(raw / 'VOCtrainval_03-May-2010.tar', voc_files(2010, ('a', 'b'), 'Main'))
    (raw / 'trainval_merged.json').write_text(json.dumps(context_json()))
    code, output = run('context59')
    assert code == 0 and '1 images, the published split has 5104 or 5105' in output
    root = tmp_path / 'out/VOCdevkit/VOC2010'
    assert label_at(root / 'SegmentationClassContext/a.png').tolist() == EXPECTED
    assert (root / 'ImageSets/SegmentationContext/val.txt').read_text() == 'a\n'


def test_coco_text_of_run_lengths():
    # By hand: 6, 1 and 40 as they are; 5 - 1 = 4; 38 - 40 = -2.
    assert pascal_context._read_counts('61X14N') == [6, 1, 40, 5, 38]
    mask = pascal_context.decode_run_lengths('61X14N', (9, 10))
    assert mask.sum() == 1 + 5 and mask[6, 0] and mask.T.flatten()[47:52].all()


@pytest.mark.parametrize('classes', [59, 459])
def test_context_of_matlab_files(tmp_path, raw, run, classes):
    write_tar(raw / 'VOCtrainval_03-May-2010.tar', voc_files(2010, ('a', 'b'), 'Main'))
    if classes == 59:
        numbered = (f'{number}: {name}' for number, name in enumerate(NAMES59, 1))
        text = '\n'.join(numbered).replace(' table', ' diningtable')
        (raw / '59_labels.txt').write_text(text)
        position = NAMES59.index('wood') + 1
        labels = np.choose(np.searchsorted([0, 1, 59], EXPECTED), [0, 1, position])
    else:
        labels = LABELS459
    folder = {59: '59_context_labels', 459: 'trainval'}[classes]
    content = mat(LabelMap=labels.astype(np.uint16))
    files = {f'{folder}/{name}.mat': content for name in ('a', 'b', 'train')}
    write_tar(raw / f'{folder}.tar.gz', files, 'w:gz')
    assert run('context60')[0] == 0
    root = tmp_path / 'out/VOCdevkit/VOC2010'
    assert (root / 'ImageSets/SegmentationContext/val.txt').read_text() == 'a\nb\n'
    assert label_at(root / 'SegmentationClassContext/b.png').tolist() == EXPECTED
    (raw / 'trainval_merged.json').write_text(json.dumps(context_json(('a', 'b'))))
    assert '0 files made' in run('context60', '--context-annotation', 'mat')[1]
    code, output = run('context60')
    assert code and 'was prepared from another annotation' in output


def test_classes_of_voc_come_first_in_the_matlab_files(raw):
    path = raw / '59_labels.txt'
    path.write_text('\n'.join(f'{n}: {name}' for n, name in enumerate(NAMES59, 1)))
    table = pascal_context.read_names(pascal_context.TextEntry(path.read_text()))
    assert [CLASSES[c] for c in table[[0, 1, 2, 20]]] == [
        'background',
        'aeroplane',
        'bicycle',
        'tvmonitor',
    ]
    with pytest.raises(InputError, match='does not number the 59 classes'):
        pascal_context.read_names(pascal_context.TextEntry('1: aeroplane\n2: bird'))


@pytest.mark.parametrize('damage', ['digest', 'cut', 'byte'])
def test_a_damaged_archive(tmp_path, raw, run, damage, monkeypatch):
    path = raw / 'ADEChallengeData2016.zip'
    write_zip(path, ade_files())
    if damage == 'digest':
        archive = Archive(path.name, page='', digest='0' * 32)
        set_archives(monkeypatch, 'ade20k', archive)
        expected = f'has checksum {hashlib.md5(path.read_bytes()).hexdigest()}'
    elif damage == 'cut':
        path.write_bytes(path.read_bytes()[:-30])
        expected = 'is damaged or incomplete'
    else:
        content = bytearray(path.read_bytes())
        content[content.find(b'.jpg') + 40] ^= 255
        path.write_bytes(content)
        expected = 'cannot be read'
    code, output = run('ade20k')
    assert code and expected in output and str(path) in output
    assert not list(tmp_path.rglob('*.part'))


def test_a_missing_label(raw, run):
    files = voc_files(2012)
    del files['VOCdevkit/VOC2012/SegmentationClass/b.png']
    write_tar(raw / 'VOCtrainval_11-May-2012.tar', files)
    code, output = run('voc21')
    assert code and '1 of 2 images of the split have no label file, the first is b' in output


def test_all_continues_where_data_are_missing(raw, run):
    write_zip(raw / 'ADEChallengeData2016.zip', ade_files())
    code, output = run('all')
    assert code.startswith(
        'not prepared: voc21, context60, coco_stuff164k, coco_stuff10k, cityscapes, coco'
    )
    assert 'ade20k: 1 images' in output and 'run again with --download' in output


def test_no_folder(raw, run):
    raw.rmdir()
    code, output = run('voc21')
    assert code and f'folder {raw} with the official files does not exist' in output


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / 'served'
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=folder))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield folder, f'http://127.0.0.1:{http.server_port}'
    http.shutdown()


@pytest.mark.parametrize('published', [True, False])
def test_download(raw, run, server, monkeypatch, published):
    folder, url = server
    path = folder / 'ADEChallengeData2016.zip'
    write_zip(path, ade_files())
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if published else None
    archive = Archive(path.name, page='a page', url=f'{url}/{path.name}', digest=digest)
    set_archives(monkeypatch, 'ade20k', archive)
    assert run('ade20k')[0] and not any(raw.iterdir())
    code, output = run('ade20k', '--download')
    assert code == 0 and 'of a page (see its terms there)' in output
    assert (raw / path.name).read_bytes() == path.read_bytes()
    path.unlink()
    assert '0 files made' in run('ade20k', '--download')[1]


def test_download_that_fails(run, server, monkeypatch):
    archive = Archive('other.zip', page='', url=f'{server[1]}/other.zip')
    set_archives(monkeypatch, 'ade20k', archive)
    code, output = run('ade20k', '--download')
    assert code and 'cannot download' in output and '404' in output
