_base_ = '../resclip/resclip-naclip_vit-b16_voc20.py'

toy = r"""{{fileDirname}}/../../data/toy"""
model = dict(
    image_encoder=dict(
        clip=f'{toy}/toy_clip.safetensors',
        # The middle blocks; the toy CLIP has 8.
        method=dict(rcs=dict(blocks=(4, 5, 6))),
    )
)
test_dataloader = dict(dataset=dict(data_root=f'{toy}/VOCdevkit/VOC2012'))
