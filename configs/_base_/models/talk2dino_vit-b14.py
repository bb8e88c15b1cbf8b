model = dict(
    type='CLIPSegmentor',
    data_preprocessor=dict(
        type='PadSegDataPreProcessor',
        # ImageNet's, like DINO.
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    image_encoder=dict(
        type='Talk2DINOEncoder',
        tower=dict(checkpoint='dinov2_vitb14_reg'),
        head='vitb_mlp_infonce',
    ),
    text_head=dict(
        type='Talk2DINOTextHead',
        clip='ViT-B/16',  # the same for all towers
        templates=[
            'itap of a {}.',
            'a bad photo of a {}.',
            'a origami {}.',
            'a photo of the large {}.',
            'a {} in a video game.',
            'art of the {}.',
            'a photo of the small {}.',
        ],
        normalize_prompts=False,
    ),
    test_cfg=dict(mode='slide', crop_size=(448, 448), stride=(224, 224), activation=None),
)
