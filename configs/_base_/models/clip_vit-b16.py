model = dict(
    type='CLIPSegmentor',
    data_preprocessor=dict(
        type='PadSegDataPreProcessor',
        mean=[122.771, 116.746, 104.094],
        std=[68.501, 66.632, 70.323],
        bgr_to_rgb=True,
    ),
    image_encoder=dict(type='CLIPImageEncoder', clip='ViT-B/16', method=dict(type='CLIP')),
    text_head=dict(type='CLIPTextHead', templates='imagenet'),
    test_cfg=dict(
        mode='slide',
        crop_size=(224, 224),
        stride=(112, 112),
        logit_scale=40.0,
        prob_thd=0.0,
        area_thd=None,
    ),
)
