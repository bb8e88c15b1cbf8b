"""Segment images with a model of `sclip export`: python onnx_segment.py MODEL.onnx IMAGE..."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime


def resizing(cells, pixels):  # bilinear, along one side: weights [pixels, cells]
    places = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    return np.clip(1 - abs(places[:, None] - np.arange(cells)), 0, None)


def fusing(cells, starts, crop, length):  # windows averaged: weights [length, windows * cells]
    sums = np.hstack([np.pad(resizing(cells, crop), ((i, starts[-1] - i), (0, 0))) for i in starts])
    return np.float32(resizing(len(sums), length) @ (sums / sums.sum(1, keepdims=True)))


def decide(x, rule, ids):  # query maps [H, W, Q] to classes [H, W]; ids: the queries' classes
    if rule['activation'] == 'softmax':
        x = (e := np.exp(rule['logit_scale'] * (x - x.max(-1)[..., None]))) / e.sum(-1)[..., None]
    elif rule['activation'] == 'sigmoid':
        x = 1 / (1 + np.exp(-rule['logit_scale'] * x - rule['logit_bias']))
    x = np.stack([x[..., np.equal(ids, number)].max(-1) for number in range(max(ids) + 1)], -1)
    x = np.insert(x, 0, rule['background'], -1) if 'background' in rule else x  # of constant score
    area = np.bincount(x.argmax(-1).ravel(), minlength=x.shape[-1])[1:]  # few pixels: dropped
    x[..., 1:][..., area <= rule.get('area_thd', -1) * max(area.sum(), 1)] = 0
    return np.where(x.max(-1) < rule.get('prob_thd', 0), 0, x.argmax(-1))


def segment(session, about, image):  # BGR, uint8 [H, W, 3], to classes [H, W]
    (long, short), window, colors = about['scale'], about['window'], about['normalisation']
    factor = min(long / max(image.shape[:2]), short / min(image.shape[:2]))
    size, crop = [int(side * factor + 0.5) for side in image.shape[:2]], window['size']
    if min(np.subtract(size, crop)) < 0 or (window['mode'] == 'whole' and size != crop):
        sys.exit(f'error: the image, resized to {size}, does not fit windows of {crop}')
    x = cv2.dnn.blobFromImage(image, 1, size[::-1], colors['mean'], swapRB=True)[0]  # [3, *size]
    sides = zip(size, crop, window['stride'])
    rows, columns = ([min(s, a - b) for s in range(0, a - b + c, c)] for a, b, c in sides)
    cut = np.stack([x[:, i : i + crop[0], j : j + crop[1]] for i in rows for j in columns])
    maps = session.run(['maps'], {'images': cut / np.float32(colors['std'])[:, None, None]})[0]
    maps = maps.reshape(len(rows), len(columns), *maps.shape[1:]).transpose(2, 0, 3, 1, 4)
    down, across = map(fusing, maps.shape[2::2], (rows, columns), crop, image.shape)
    maps = down @ maps.reshape(len(maps), down.shape[1], -1) @ across.T  # [Q, H, W]
    return decide(maps.transpose(1, 2, 0), about['rule'], about['query_classes'])


if __name__ == '__main__':
    if not (sys.argv[2:] and Path(sys.argv[1]).is_file()):
        sys.exit(f'{__doc__}: name an existing model, and images')
    session = onnxruntime.InferenceSession(sys.argv[1])
    about = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    ids = np.array(about['label_ids'], np.min_scalar_type(max(about['label_ids']) + 1))
    for path in map(Path, sys.argv[2:]):
        try:
            image = cv2.imread(str(path))
        except cv2.error:  # of more than 2^30 pixels
            image = None
        if image is None:
            sys.exit(f'error: {path} cannot be read as an image')
        cv2.imwrite(f'{path.stem}_labels.png', ids[segment(session, about, image)])
