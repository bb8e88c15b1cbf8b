_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/mess_isaid.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='mess_isaid'),
)
