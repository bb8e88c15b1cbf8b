_base_ = '../naclip/naclip_vit-b16_voc20.py'

toy = r"""{{fileDirname}}/../../data/toy"""
model = dict(
    image_encoder=dict(clip=f'{toy}/toy_clip.safetensors'),
)
test_dataloader = dict(dataset=dict(data_root=f'{toy}/VOCdevkit/VOC2012'))
