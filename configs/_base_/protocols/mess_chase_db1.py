_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/mess_chase_db1.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='mess_chase_db1'),
)
