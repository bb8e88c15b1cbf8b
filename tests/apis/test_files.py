"""Images, folders and videos in one call."""

import csv
import inspect
import pickle
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis.inputs import output_names
from sclip_mmseg.apis.media import open_video, video_writer
from sclip_mmseg.regions import Felzenszwalb

CLASSES = ['sky', 'grass', 'cat, kitten']
SMALL = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}
FRAMES, SIZE, FPS = 3, (80, 112), 7.5


@pytest.fixture
def video(tmp_path):
    """A video whose frames differ."""
    path = tmp_path / 'clip.avi'
    codec = cv2.VideoWriter_fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(path), codec, FPS, SIZE[::-1])
    for index in range(FRAMES):
        frame = np.zeros((*SIZE, 3), dtype=np.uint8)
        frame[:, : 40 * index] = 60, 200, 90
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def run(clip_path, tmp_path):
    def run(inputs, classes=CLASSES, **kwargs):
        out = tmp_path / 'out'
        return apis.segment_files(
            *(inputs, classes), out=out, clip=clip_path, device='cpu', cfg_options=SMALL, **kwargs
        )

    return run


def test_a_video(run, video, clip_path, tmp_path):
    [result] = run(video)
    written = open_video(result.overlay)
    assert (written.fps, written.height, written.width) == (FPS, *SIZE)
    frames = [written.read() for _ in range(FRAMES)]
    assert written.read() is None
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 5
    maps = sorted(result.labels.iterdir())
    assert [path.name for path in maps] == ['000000.png', '000001.png', '000002.png']
    labels = np.stack([np.array(Image.open(path)) for path in maps])
    assert labels.shape == (FRAMES, *SIZE)
    counts = np.bincount(labels.flatten(), minlength=3)
    assert result.pixels == dict(zip(['sky', 'grass', 'cat'], counts))
    model = apis.build_segmentor(CLASSES, clip=clip_path, device='cpu', cfg_options=SMALL)
    last = cv2.VideoCapture(str(video))
    frame = [last.read()[1] for _ in range(FRAMES)][-1]
    assert (apis.segment(model, frame, channels='bgr').labels == labels[-1]).all()


def test_regions_of_each_frame(run, video, monkeypatch):
    seen = []
    make = Felzenszwalb.__call__
    monkeypatch.setattr(Felzenszwalb, '__call__', lambda *a: seen.append(a[1]) or make(*a))
    run(video, regions='felzenszwalb')
    assert [image.shape for image in seen] == [(*SIZE, 3)] * FRAMES
    assert all(a.mean() < b.mean() for a, b in zip(seen, seen[1:]))
    red, green, blue = seen[-1][:, :70].mean((0, 1))
    assert green > 150 and red > blue + 15  # RGB


def test_a_folder_of_both(run, video, voc_root, tmp_path):
    folder = tmp_path / 'in'
    (folder / 'sub').mkdir(parents=True)
    video.rename(folder / 'sub/clip.avi')
    image_path = voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg'
    (folder / 'a.jpg').write_bytes(image_path.read_bytes())
    seen = []
    results = run([folder], on_result=seen.append)
    assert results == seen
    assert [result.path.name for result in results] == ['a.jpg', 'clip.avi']
    out = tmp_path / 'out'
    assert results[0].overlay == out / 'a_overlay.jpg'
    assert results[1].overlay == out / 'sub/clip_overlay.mp4'
    with open(out / 'areas.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for result in results:
        mine = {row['class']: row for row in rows if row['file'] == str(result.path)}
        assert {name: int(row['pixels']) for name, row in mine.items()} == result.pixels
        assert sum(float(row['share']) for row in mine.values()) == pytest.approx(1, abs=1e-5)
    # Results among the inputs are not segmented in turn.
    out.rename(folder / 'out')
    assert len(run(folder)) == 2


def test_names_that_differ_in_the_suffix(run, video, voc_root, tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    video.rename(folder / 'IMG_1.AVI')
    image_path = (voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg').read_bytes()
    for name in ('IMG_1.JPG', 'IMG_2.JPG'):
        (folder / name).write_bytes(image_path)
    results = run(folder)
    overlays = 'IMG_1.AVI_overlay.mp4', 'IMG_1.JPG_overlay.jpg', 'IMG_2_overlay.jpg'
    assert tuple(result.overlay.name for result in results) == overlays
    assert all(result.overlay.is_file() and result.labels.exists() for result in results)
    results[1].overlay.rename(folder / results[1].overlay.name)
    assert len(run(folder)) == 3


def test_names_of_results(tmp_path):
    files = [tmp_path / name for name in ('x.jpg', 'x.mov', 'x.jpg.png', 'sub/x.jpg', 'y.png')]
    names = output_names(files, [tmp_path])
    assert list(map(str, names)) == ['x.jpg', 'x.mov', 'x.jpg.png', 'sub/x', 'y']
    with pytest.raises(InputError, match=r'x\.jpg and another file are both called x\.jpg'):
        output_names([files[0], files[1], files[0]], [tmp_path])


def test_bad_files(run, tmp_path):
    (tmp_path / 'x.mp4').write_bytes(b'no video')
    with pytest.raises(InputError, match=r'x\.mp4 cannot be read as a video'):
        run(tmp_path / 'x.mp4')
    with pytest.raises(InputError, match=r'y\.mp4 does not exist'):
        run(str(tmp_path / 'y.mp4'))
    Image.new('RGB', (600, 1)).save(tmp_path / 'thin.png')
    with pytest.raises(InputError, match=r'thin\.png is .* smaller than a patch'):
        run(tmp_path / 'thin.png')
    (tmp_path / 'both').mkdir()
    Image.new('RGB', (90, 90)).save(tmp_path / 'both/z.png')
    (tmp_path / 'both/a.jpg').write_bytes(b'cut off')
    done = []
    with pytest.raises(InputError, match=r'1 of 2 not segmented: .*a\.jpg'):
        run(tmp_path / 'both', on_result=done.append)
    assert [result.path.name for result in done] == ['z.png']
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='no image or video below .*empty'):
        run(tmp_path / 'empty')
    with pytest.raises(InputError, match='cannot be written as a video'):
        with video_writer(tmp_path / 'absent/x.mp4', 5, (80, 80)):
            pass


def test_a_shortened_video(run, video):
    data = video.read_bytes()
    chunks = [match.start() for match in re.finditer(b'00dc', data)]
    video.write_bytes(data[: chunks[2]])
    with pytest.warns(UserWarning, match='ends after 1 of 3 frames'):
        [result] = run(video)
    assert sum(result.pixels.values()) == SIZE[0] * SIZE[1]
    video.write_bytes(data[: chunks[1]])
    with pytest.raises(InputError, match=r'clip\.avi has no frame that can be read'):
        run(video)


def test_what_is_shown_of_segment_files():
    """``segment_files`` shows the arguments of ``segment_folder``, which are defined once."""
    ours, theirs = map(inspect.signature, (apis.segment_files, apis.segment_folder))
    assert list(ours.parameters) == list(theirs.parameters)
    assert ours.return_annotation == list[apis.FileResult]
    assert pickle.loads(pickle.dumps(apis.segment_files)) is apis.segment_files
