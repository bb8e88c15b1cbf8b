_base_ = [
    '../_base_/models/corrclip2_vit-b16.py',
    '../_base_/datasets/mess_foodseg.py',
    '../_base_/default_runtime.py',
]

bank = _base_.data_root + '/memory_bank'
model = dict(
    text_head=dict(queries='mess_foodseg'),
    region_masks=_base_.data_root + '/instance_mask/mess_foodseg/{stem}.npz',
    memory=dict(bank=bank, index=bank + '/vfm_embeddings/coco_radiov3.faiss'),
)
