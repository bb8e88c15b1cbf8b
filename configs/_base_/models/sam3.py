model = dict(
    type='CLIPSegmentor',
    data_preprocessor=dict(
        type='PadSegDataPreProcessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
    ),
    # Gated: request access at https://huggingface.co/facebook/sam3, or set the path of sam3.pt.
    image_encoder=dict(type='SAM3Encoder', checkpoint='facebook/sam3', confidence_threshold=0.5),
    text_head=dict(type='SAM3TextHead'),
    # The network resizes images of any size to its square input: an image is one window.
    test_cfg=dict(mode='whole', activation=None),
)
