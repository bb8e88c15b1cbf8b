_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/mess_mhp_v1.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='mess_mhp_v1'),
)
