model = dict(
    type='CLIPSegmentor',
    data_preprocessor=dict(
        type='PadSegDataPreProcessor',
        # ImageNet's, as in the authors' program.
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    image_encoder=dict(type='GroupViTEncoder', checkpoint='groupvit_gcc_yfcc'),
    text_head=dict(
        type='GroupViTTextHead', templates=['a photo of a {}.'], normalize_prompts=False
    ),
    test_cfg=dict(mode='slide', crop_size=(448, 448), stride=(224, 224), activation=None),
)
