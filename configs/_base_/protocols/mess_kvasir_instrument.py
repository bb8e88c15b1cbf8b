_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/mess_kvasir_instrument.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='mess_kvasir_instrument'),
)
