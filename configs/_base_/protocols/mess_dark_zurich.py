_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/mess_dark_zurich.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='mess_dark_zurich'),
)
