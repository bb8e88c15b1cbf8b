model = dict(
    type='CLIPSegmentor',
    data_preprocessor=dict(
        type='PadSegDataPreProcessor',
        # ImageNet's, as in the authors' program, also for its CLIP.
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    image_encoder=dict(type='TCLEncoder', clip='ViT-B/16', checkpoint='tcl', kp_w=0.3),
    text_head=dict(
        type='CLIPTextHead',
        templates=[
            'itap of a {}.',
            'a bad photo of a {}.',
            'a origami {}.',
            'a photo of the large {}.',
            'a {} in a video game.',
            'art of the {}.',
            'a photo of the small {}.',
            'a photo of many {}.',
            'a photo of {}s.',
        ],
        normalize_prompts=False,
    ),
    test_cfg=dict(mode='slide', crop_size=(448, 448), stride=(224, 224), activation=None),
)
