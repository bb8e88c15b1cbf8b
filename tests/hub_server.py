"""A stand-in for the Hugging Face Hub on this machine, and repositories to put there."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import torch
from safetensors.torch import save as save_tensors

COMMIT, OLD_COMMIT = 'c' * 40, '0' * 40
CLIP_PREPROCESSOR = {
    'do_normalize': True,
    'image_mean': [0.48145466, 0.4578275, 0.40821073],
    'image_std': [0.26862954, 0.26130258, 0.27577711],
}
IMAGENET_PREPROCESSOR = {
    'image_mean': [0.485, 0.456, 0.406],
    'image_std': [0.229, 0.224, 0.225],
}


class Hub:
    """Serves `repositories`: name → revision (branch, tag or commit) → file name → bytes.

    Answers as the Hub does, as far as its client looks: large files are redirected to another
    address, errors told by headers.
    """

    def __init__(self):
        self.repositories = {}
        self.commits = {'main': COMMIT, 'v1': OLD_COMMIT}
        self.gated = set()
        self.failing = False
        self.requests = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f'http://127.0.0.1:{self.http.server_port}'
        self.cdn = f'http://localhost:{self.http.server_port}/cdn'  # another host, as there

    def put(self, name, revision='main', **files):
        """Publish files, whose names have `__` for the dot; dicts as JSON."""
        content = {
            key.replace('__', '.'): json.dumps(value).encode() if isinstance(value, dict) else value
            for key, value in files.items()
        }
        self.repositories.setdefault(name, {})[self.commits[revision]] = content

    def downloads(self):
        """Names of the files that were downloaded."""
        return [path.rpartition('/')[2] for method, path in self.requests if method == 'GET']

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, request):
        path = unquote(urlsplit(request.path).path)
        stored = path.startswith('/cdn/')
        if '/resolve/' in path or stored:  # the client has other questions, too
            self.requests.append((request.command, path))
        if self.failing:
            return self._send(request, 500, {})
        if stored:
            digest = path.split('/')[2]
            files = [f for r in self.repositories.values() for c in r.values() for f in c.values()]
            [body] = {f for f in files if hashlib.sha256(f).hexdigest() == digest}
            return self._send(request, 200, {}, body)
        name, _, rest = path.strip('/').partition('/resolve/')
        revision, _, filename = rest.partition('/')
        if name not in self.repositories:
            return self._send(request, 401, {'X-Error-Code': 'RepoNotFound'})
        if name in self.gated and 'Authorization' not in request.headers:
            return self._send(request, 401, {'X-Error-Code': 'GatedRepo'})
        commit = self.commits.get(revision, revision)
        if commit not in self.repositories[name]:
            return self._send(request, 404, {'X-Error-Code': 'RevisionNotFound'})
        headers = {'X-Repo-Commit': commit}
        body = self.repositories[name][commit].get(filename)
        if body is None:
            return self._send(request, 404, {**headers, 'X-Error-Code': 'EntryNotFound'})
        digest = hashlib.sha256(body).hexdigest()
        if filename.endswith('.json'):
            return self._send(request, 200, {**headers, 'ETag': f'"{digest}"'}, body)
        linked = {'X-Linked-Etag': f'"{digest}"', 'X-Linked-Size': str(len(body))}
        headers.update(linked, Location=f'{self.cdn}/{digest}/{filename}')
        return self._send(request, 302, headers)

    def _send(self, request, status, headers, body=b''):
        request.send_response(status)
        for key, value in {**headers, 'Content-Length': len(body)}.items():
            request.send_header(key, str(value))
        request.end_headers()
        if request.command == 'GET':
            request.wfile.write(body)


def to_safetensors(state):
    """Bytes of a state dict."""
    return save_tensors({key: value.clone().contiguous() for key, value in state.items()})


def hugging_face_clip(clip):
    """The same weights as a CLIPModel of transformers names and cuts them."""
    target = {'logit_scale': clip['logit_scale']}
    for tower, prefix in (('vision_model.', 'visual.'), ('text_model.', '')):
        layer = 0
        while f'{prefix}transformer.resblocks.{layer}.ln_1.weight' in clip:
            old = f'{prefix}transformer.resblocks.{layer}.'
            new = f'{tower}encoder.layers.{layer}.'
            for part in ('weight', 'bias'):
                for name, chunk in zip('qkv', clip[f'{old}attn.in_proj_{part}'].chunk(3)):
                    target[f'{new}self_attn.{name}_proj.{part}'] = chunk
                for ours, theirs in (
                    ('attn.out_proj', 'self_attn.out_proj'),
                    ('mlp.c_fc', 'mlp.fc1'),
                    ('mlp.c_proj', 'mlp.fc2'),
                    ('ln_1', 'layer_norm1'),
                    ('ln_2', 'layer_norm2'),
                ):
                    target[f'{new}{theirs}.{part}'] = clip[f'{old}{ours}.{part}']
            layer += 1
    for part in ('weight', 'bias'):
        target[f'vision_model.pre_layrnorm.{part}'] = clip[f'visual.ln_pre.{part}']
        target[f'vision_model.post_layernorm.{part}'] = clip[f'visual.ln_post.{part}']
        target[f'text_model.final_layer_norm.{part}'] = clip[f'ln_final.{part}']
    embeddings = 'vision_model.embeddings.'
    target[f'{embeddings}class_embedding'] = clip['visual.class_embedding']
    target[f'{embeddings}patch_embedding.weight'] = clip['visual.conv1.weight']
    target[f'{embeddings}position_embedding.weight'] = clip['visual.positional_embedding']
    target[f'{embeddings}position_ids'] = torch.arange(197)[None]
    target['visual_projection.weight'] = clip['visual.proj'].T
    target['text_model.embeddings.token_embedding.weight'] = clip['token_embedding.weight']
    target['text_model.embeddings.position_embedding.weight'] = clip['positional_embedding']
    target['text_model.embeddings.position_ids'] = torch.arange(77)[None]
    target['text_projection.weight'] = clip['text_projection'].T
    return target


def hugging_face_dino(dino):
    """The weights of a DINO or DINOv2, as Meta names them, by the names of `transformers`."""
    version_2 = 'blocks.0.ls1.gamma' in dino
    outside = {
        'cls_token': 'embeddings.cls_token',
        'register_tokens': 'embeddings.register_tokens',
        'patch_embed.proj': 'embeddings.patch_embeddings.projection',
        'pos_embed': 'embeddings.position_embeddings',
        'norm': 'layernorm',
    }
    parts = {'attn.proj': 'attention.output.dense'}
    if version_2:
        parts.update({'ls1.gamma': 'layer_scale1.lambda1', 'ls2.gamma': 'layer_scale2.lambda1'})
    else:
        parts.update({'norm1': 'layernorm_before', 'norm2': 'layernorm_after'})
        parts.update({'mlp.fc1': 'intermediate.dense', 'mlp.fc2': 'output.dense'})
    target = {'pooler.dense.weight': torch.zeros(1), 'embeddings.mask_token': torch.zeros(1)}
    for key, value in dino.items():
        if not key.startswith('blocks.'):
            target[_replace(key, outside)] = value
            continue
        _, number, part = key.split('.', 2)
        block = f'encoder.layer.{number}.'
        if part.startswith('attn.qkv.'):
            for name, chunk in zip(('query', 'key', 'value'), value.chunk(3)):
                target[f'{block}attention.attention.{name}.{part.split(".")[-1]}'] = chunk
        else:
            target[block + _replace(part, parts)] = value
    return target


def _replace(key, table):
    for old, new in table.items():
        if key == old or key.startswith(f'{old}.'):
            return new + key[len(old) :]
    return key
