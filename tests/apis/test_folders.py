"""One bad file never ends a folder's run, and what is left out is named."""

import csv
import io
import os
import shutil
import sys
import warnings
from functools import partial
from unittest import mock

import cv2
import numpy as np
import pytest
from helpers import ROOT, call_tool, run_tool
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis import files, inputs, media, one_file
from sclip_mmseg.apis.inputs import find_media
from sclip_mmseg.apis.media import open_video, read_frames, video_writer
from sclip_mmseg.apis.writers import overlay, write_labels
from sclip_mmseg.datasets import bright_palette
from sclip_mmseg.utils import images
from sclip_mmseg.utils.program import as_program

SMALL = {
    'model.test_cfg.crop_size': 112,
    'model.test_cfg.stride': 56,
    'test_pipeline.1.scale': (2048, 168),
}
NOT_UTF8 = os.fsdecode(b'a\xe9')


@pytest.fixture
def folder(tmp_path):
    """A folder with two good images, the first and the last one in order."""
    folder = tmp_path / 'in'
    folder.mkdir()
    blocks = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    for name in ('a.png', 'z.jpg'):
        Image.fromarray(blocks).resize((120, 90)).save(folder / name)
    return folder


@pytest.fixture
def run(clip_path, tmp_path):
    """Segment; gives the names of those segmented, and what is said at the end."""

    def run(paths, **kwargs):
        done, said, out = [], '', kwargs.pop('out', tmp_path / 'out')
        try:
            apis.segment_files(
                paths,
                *(['sky', 'grass'],),
                out=out,
                clip=clip_path,
                device='cpu',
                cfg_options=SMALL,
                on_result=lambda result: done.append(result.path.name),
                **kwargs,
            )
        except InputError as error:
            said = str(error)
        return done, said

    return run


def write_video(path, frames=3, size=(80, 112), fps=5, codec='MJPG'):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, size[::-1])
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((*size, 3), 40 * index, np.uint8))
    writer.release()


def cut(folder, name):
    shutil.copy(folder / 'z.jpg', folder / name)
    (folder / name).write_bytes((folder / name).read_bytes()[:700])


def twelve_bits(folder, name):
    values = np.random.default_rng(0).integers(0, 4096, (90, 120, 3), dtype=np.uint16)
    cv2.imwrite(str(folder / name), values)


def cut_video(folder, name):
    write_video(folder / 'x.avi')
    (folder / name).write_bytes((folder / 'x.avi').read_bytes()[:100])
    (folder / 'x.avi').unlink()


BAD = {
    'empty.png': lambda folder, name: (folder / name).touch(),
    'text.jpg': lambda folder, name: (folder / name).write_text('no image'),
    'cut.jpg': cut,
    'dark.png': twelve_bits,
    'float.tif': lambda folder, name: Image.new('F', (90, 90), 0.5).save(folder / name),
    'thin.png': lambda folder, name: Image.new('RGB', (5000, 1)).save(folder / name),
    'narrow.bmp': lambda folder, name: Image.new('RGB', (1, 5000)).save(folder / name),
    'gone.jpg': lambda folder, name: (folder / name).symlink_to(folder / 'nowhere'),
    'loop.jpg': lambda folder, name: (folder / name).symlink_to(folder / name),
    'pipe.jpg': lambda folder, name: os.mkfifo(folder / name),
    'pipe.mp4': lambda folder, name: os.mkfifo(folder / name),
    'empty.mp4': lambda folder, name: (folder / name).touch(),
    'text.mov': lambda folder, name: (folder / name).write_text('no video'),
    'cut.avi': cut_video,
    f'{NOT_UTF8}.avi': lambda folder, name: (
        write_video(folder / 'x.avi'),
        (folder / 'x.avi').rename(folder / name),
    ),
    'new\nline.jpg': lambda folder, name: (folder / name).write_text('no image'),
    f'{"n" * 245}.png': lambda folder, name: shutil.copy(folder / 'a.png', folder / name),
}


@pytest.mark.filterwarnings('error')
def test_bad_files_are_skipped_and_named(folder, run):
    for name, make in BAD.items():
        make(folder, name)
    lines = []
    done, said = run(folder, on_progress=lines.append)
    assert done == ['a.png', 'z.jpg']
    assert said.startswith(f'{len(BAD)} of {len(BAD) + 2} not segmented: ') and '\n' not in said
    skipped = [line for line in lines if line.startswith('skipped: ')]
    assert len(skipped) == len(BAD)
    for name in BAD:
        assert sum(name.replace('\n', r'\n') in line for line in skipped) == 1, name


@pytest.mark.parametrize('name', BAD)
def test_a_bad_file_by_name(folder, run, name):
    BAD[name](folder, name)
    done, said = run([folder / 'a.png', folder / name, folder / 'z.jpg'])
    assert done == ['a.png', 'z.jpg']
    path = str(folder / name).replace('\n', r'\n')
    assert said.startswith('1 of 3 not segmented: ') and path in said and '\n' not in said


def test_bytes_behind_a_whole_jpeg_are_warned_of(folder):
    """Some encoders leave them; a damaged file may have them as well."""
    whole = (folder / 'z.jpg').read_bytes()
    (folder / 'z.jpg').write_bytes(whole[:-2] + b'abcd' + whole[-2:])
    with pytest.warns(UserWarning, match=r'z\.jpg contains damaged data .*extraneous bytes before'):
        assert apis.read_image(folder / 'z.jpg').shape == (90, 120, 3)


def test_bad_files_alone_need_no_weights(folder):
    (folder / 'x.mp4').write_bytes(b'no video')
    with pytest.raises(InputError, match=r'1 of 1 not segmented: .*x\.mp4 cannot be read as a vid'):
        apis.segment_files(folder / 'x.mp4', ['sky', 'grass'], clip='absent.pt', out=folder)


def test_files_that_may_not_be_read(folder, run, monkeypatch):
    """The file mode forbids it, which does not stop root."""

    def refuse(path, *args, **kwargs):
        if str(path).endswith('secret.jpg'):
            raise PermissionError(13, 'Permission denied', str(path))
        return open(path, *args, **kwargs)

    monkeypatch.setattr(media, 'open', refuse, raising=False)
    shutil.copy(folder / 'z.jpg', folder / 'secret.jpg')
    done, said = run(folder)
    assert done == ['a.png', 'z.jpg']
    assert said.endswith('secret.jpg cannot be read (Permission denied)')


def test_folders_that_may_not_be_listed(folder, run, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('secret'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    (folder / 'secret').mkdir()
    monkeypatch.setattr(os, 'scandir', refuse)
    done, said = run(folder)
    assert done == ['a.png', 'z.jpg']
    assert 'in/secret is a folder whose files cannot be read' in said


def test_a_file_that_vanishes(folder, run, monkeypatch):
    check = files.check_image

    def check_and_remove(path):
        check(path)
        if path.name == 'm.jpg':
            path.unlink()

    monkeypatch.setattr(files, 'check_image', check_and_remove)
    shutil.copy(folder / 'z.jpg', folder / 'm.jpg')
    assert run(folder) == (['a.png', 'z.jpg'], f'1 of 3 not segmented: image {folder}/m.jpg '
                           'does not exist')  # fmt: skip


def test_an_image_whose_drawing_needs_too_much_memory(folder, run, monkeypatch):
    draw, sizes = overlay.draw_overlay, []

    def fail_once(*args, **kwargs):
        sizes.append(args[0].shape)
        if len(sizes) == 1:
            raise MemoryError
        return draw(*args, **kwargs)

    monkeypatch.setattr(overlay, 'draw_overlay', fail_once)
    done, said = run(folder)
    assert done == ['z.jpg'] and 'a.png needs more memory than is available' in said


def test_results_that_cannot_be_written(folder, run, tmp_path):
    (tmp_path / 'out/a_labels.png').mkdir(parents=True)
    done, said = run(folder)
    assert done == ['z.jpg'] and f'the results of {folder}/a.png cannot be written (' in said


def test_which_files_a_folder_has(folder, tmp_path):
    for name in ('._a.png', '.ipynb_checkpoints/a-checkpoint.jpg', '.hidden/b.jpg'):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / 'z.jpg', folder / name)
    taken = ['b.JFIF', 'c.avif', 'd.ppm', 'e.jpe', 'f.jp2', 'g.dib', 'h.wmv', 'i.3GP']
    for name in (*taken, 'notes.txt', 'Makefile'):
        (folder / name).touch()
    (folder / 'x.jpg').mkdir()
    shutil.copy(folder / 'z.jpg', folder / 'x.jpg/y.jpg')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = [str(path.relative_to(folder)) for path in find_media([folder])]
    assert found == sorted(['a.png', *taken, 'x.jpg/y.jpg', 'z.jpg'])
    # A hidden one that is named is taken.
    assert find_media([folder / '._a.png']) == [folder / '._a.png']
    assert find_media([folder / '.hidden']) == [folder / '.hidden/b.jpg']


def test_what_a_folder_leaves_out_is_named(folder, monkeypatch):
    monkeypatch.setattr(images, 'reads_heif', lambda: False)
    for name in ('d.HEIC', 'e.svg', 'f.cr2'):
        (folder / name).touch()
    (folder / 'more').symlink_to(folder.parent)
    with pytest.warns(UserWarning, match='left out below') as said:
        assert len(find_media([folder])) == 2
    messages = [str(warning.message) for warning in said]
    assert [message.partition(': ')[2].partition(' (')[0] for message in messages] == [
        'd.HEIC; e.svg; f.cr2',
        'more',
    ]


@pytest.mark.parametrize('suffix', sorted(inputs.IMAGE_SUFFIXES - {'.avif', '.apng', '.pam'}))
def test_suffixes_of_images(tmp_path, suffix):
    """All suffixes that are searched for can be read."""
    encoded = {'.jfif': '.jpg', '.pbm': '.pgm'}.get(suffix, suffix)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    image = image[..., 0] if encoded == '.pgm' else image
    (tmp_path / f'x{suffix}').write_bytes(cv2.imencode(encoded, image)[1])
    assert apis.read_image(tmp_path / f'x{suffix}').shape == (40, 50, 3)


def test_an_image_that_is_given_twice(folder, run, tmp_path):
    (tmp_path / 'link').symlink_to(folder)
    paths = [folder, folder / 'a.png', folder / '../in/z.jpg', tmp_path / 'link', folder]
    assert run(paths) == (['a.png', 'z.jpg'], '')
    (folder / 'copy.jpg').symlink_to(folder / 'z.jpg')  # another name, and other results
    assert run(folder) == (['a.png', 'copy.jpg', 'z.jpg'], '')


def test_a_name_that_is_not_utf8(folder, run, tmp_path):
    shutil.copy(folder / 'z.jpg', folder / f'{NOT_UTF8}.jpg')
    (folder / NOT_UTF8).mkdir()
    shutil.copy(folder / 'z.jpg', folder / NOT_UTF8 / 'y.jpg')
    done, said = run(folder)
    assert (len(done), said) == (4, '')
    assert (tmp_path / f'out/{NOT_UTF8}_labels.png').is_file()
    with open(tmp_path / 'out/areas.csv', encoding='utf-8', newline='') as file:
        names = {row['file'] for row in csv.DictReader(file)}
    assert rf'{folder}/a\udce9.jpg' in names and len(names) == 4


def test_an_output_folder_that_is_not_utf8(folder, run, tmp_path):
    write_video(folder / 'b.avi')
    done, said = run(folder, out=tmp_path / NOT_UTF8)
    assert done == ['a.png', 'z.jpg'] and 'has a name that is not UTF-8' in said


@pytest.mark.parametrize('name', ['x_overlay.png', 'a_labels.png', 'a_overlay.jpg'])
def test_inputs_are_not_overwritten(folder, run, name):
    shutil.copy(folder / 'z.jpg', folder / name)
    shutil.copy(folder / 'z.jpg', folder / 'x.jpg')
    before = (folder / name).read_bytes()
    done, said = run([folder / 'a.png', folder / 'x.jpg', folder / name], out=folder)
    assert not done and said.startswith(f'a result would overwrite the input {folder}/{name}')
    assert (folder / name).read_bytes() == before
    assert not (folder / 'areas.csv').exists()
    (folder / 'out').mkdir()
    (folder / 'out/a_overlay.jpg').symlink_to(folder / 'z.jpg')
    done, said = run(folder, out=folder / 'out')
    assert not done and 'overwrite the input' in said


def test_the_list_of_classes_is_not_overwritten(folder, clip_path):
    (folder / 'areas.csv').write_text('sky\ngrass\n')
    with pytest.raises(InputError, match=r'overwrite the input .*areas\.csv'):
        apis.segment_files(folder, str(folder / 'areas.csv'), clip=clip_path, out=folder)
    assert (folder / 'areas.csv').read_text() == 'sky\ngrass\n'


def test_more_than_255_classes_take_16_bits(tmp_path):
    for count, dtype in ((255, np.uint8), (256, np.uint16), (300, np.uint16)):
        labels = np.full((4, 5), count - 1)
        names, palette = list(map(str, range(count))), bright_palette(count)
        write_labels(apis.Segmentation(labels, None, names, palette), tmp_path / 'x.png')
        image = Image.open(tmp_path / 'x.png')
        written = np.asarray(image)
        if count == 255:
            assert image.convert('RGB').getpixel((0, 0)) == tuple(palette[-1])
        assert written.dtype == dtype and (written == labels).all()


@pytest.mark.parametrize('size', [(81, 113), (80, 113), (81, 112), (1, 64)])
def test_videos_of_odd_sizes_lose_no_pixel(tmp_path, size):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    with video_writer(tmp_path / 'x.mp4', 5, size) as write:
        write(frame)
    [written] = read_frames(open_video(tmp_path / 'x.mp4'))
    assert written.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)


@pytest.mark.parametrize('stated', [0, -9, 2, 4, 10**9])
def test_a_number_of_frames_that_is_wrong(folder, run, tmp_path, monkeypatch, stated):
    write_video(folder / 'b.avi')
    monkeypatch.setattr(media.mmcv.VideoReader, 'frame_cnt', stated)
    monkeypatch.setattr(one_file, 'Progress', partial(one_file.Progress, interval=0))
    lines = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        assert run(folder / 'b.avi', on_progress=lines.append) == (['b.avi'], '')
    assert len(list((tmp_path / 'out/b_labels').iterdir())) == 3
    ends = [str(warning.message) for warning in said if 'ends after' in str(warning.message)]
    assert len(ends) == (stated > 3)
    told = [line for line in lines if 'frames' in line]
    assert len(told) == 3 and not any('3 of 2' in line for line in told)


@pytest.mark.parametrize('fps', [0.0, float('nan'), float('inf'), -5.0])
def test_a_video_without_a_frame_rate(folder, run, monkeypatch, fps):
    write_video(folder / 'b.avi')
    monkeypatch.setattr(media.mmcv.VideoReader, 'fps', fps)
    done, said = run(folder)
    assert done == ['a.png', 'z.jpg'] and 'b.avi states no frame rate' in said


def test_a_frame_rate_that_cannot_be_written(folder, run, monkeypatch):
    write_video(folder / 'b.avi')
    monkeypatch.setattr(media.mmcv.VideoReader, 'fps', 90000.0)
    done, said = run(folder)
    assert done == ['a.png', 'z.jpg'] and '112×80 pixels and 90000 frames per second' in said


def test_frames_whose_size_changes():
    sizes = iter([(80, 112), (40, 56), None])

    class Video:
        class vcap:
            @staticmethod
            def read():
                size = next(sizes)
                return bool(size), size and np.zeros((*size, 3), np.uint8)

    assert [frame.shape for frame in read_frames(Video)] == [(80, 112, 3)] * 2


@pytest.mark.parametrize('encoding, printed', [('cp1252', r'\u6d77 é'), ('utf-8', '海 é')])
def test_a_program_prints_what_its_terminal_lacks(monkeypatch, encoding, printed):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, 'stdout', pipe)
    with as_program():
        print('海 é', NOT_UTF8, end='', flush=True)
    assert pipe.buffer.getvalue() == rf'{printed} a\udce9'.encode(encoding)


def test_a_terminal_that_lacks_characters(folder, clip_path, tmp_path):
    shutil.copy(folder / 'z.jpg', folder / f'{NOT_UTF8}.jpg')
    command = (ROOT / 'tools/demo.py', folder, '--clip', clip_path, '--out', tmp_path / 'out')
    options = [f'{key}={value}' for key, value in SMALL.items() if 'test_cfg' in key]
    output = run_tool(
        *(*command, '--device', 'cpu', '--classes', '海; 山', '--cfg-options', *options),
        env={'PYTHONIOENCODING': 'ascii'},
    ).stdout
    assert output.count('.jpg: ') == 2 and output.count('.png: ') == 1
    assert r'a\udce9.jpg' in output and r'\u6d77' in output


def test_the_exit_code_of_a_folder_with_a_bad_file(folder, clip_path, tmp_path):
    (folder / 'm.jpg').write_bytes(b'no image')
    options = [f'{key}={value}' for key, value in SMALL.items() if 'test_cfg' in key]
    result = call_tool(
        *(ROOT / 'tools/demo.py', folder, '--clip', clip_path, '--out', tmp_path / 'out'),
        *('--device', 'cpu', '--classes', 'sky; grass', '--cfg-options', *options),
        check=False,
    )
    assert result.returncode == 1 and 'Traceback' not in result.stdout
    assert result.stdout.splitlines()[-1].startswith('error: 1 of 3 not segmented: ')


def test_what_is_left_out_is_summed_up_at_the_end(folder, run):
    for name in ('d.HEIC', 'e.heic', 'f.cr2', '.g.cr2'):
        (folder / name).touch()
    lines = []
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with mock.patch.object(images, 'reads_heif', lambda: False):
            assert run(folder, on_progress=lines.append) == (['a.png', 'z.jpg'], '')
    assert lines[-1].startswith('left out: 1 .cr2, 2 .heic, which cannot be read: convert them')
    assert 'pip install pillow-heif' in lines[-1]


def test_tga(folder, run):
    Image.open(folder / 'a.png').save(folder / 'b.tga')
    assert run(folder)[0] == ['a.png', 'b.tga', 'z.jpg']
    expected = apis.read_image(folder / 'a.png')
    assert (apis.read_image(folder / 'b.tga') == expected).all()


def test_heic(folder, run):
    heif = pytest.importorskip('pillow_heif')
    heif.from_pillow(Image.open(folder / 'a.png')).save(folder / 'b.HEIC', quality=100)
    assert run(folder)[0] == ['a.png', 'b.HEIC', 'z.jpg']
    difference = apis.read_image(folder / 'b.HEIC').astype(int) - apis.read_image(folder / 'a.png')
    assert abs(difference).mean() < 3


def test_heic_without_its_package(folder, monkeypatch):
    monkeypatch.setattr('sclip_mmseg.utils.images.reads_heif', lambda: False)
    monkeypatch.setattr('sclip_mmseg.apis.media.reads_heif', lambda: False)
    (folder / 'b.heic').write_bytes(b'\0\0\0\x18ftypheic')
    with pytest.raises(InputError, match='needs pillow-heif to be read: pip install pillow-heif'):
        apis.read_image(folder / 'b.heic')
