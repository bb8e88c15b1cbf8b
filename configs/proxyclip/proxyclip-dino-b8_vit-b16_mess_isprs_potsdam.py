_base_ = [
    '../_base_/models/proxyclip_vit-b16.py',
    '../_base_/datasets/mess_isprs_potsdam.py',
    '../_base_/default_runtime.py',
]

model = dict(text_head=dict(queries='mess_isprs_potsdam'))
