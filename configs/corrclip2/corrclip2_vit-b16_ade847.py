_base_ = [
    '../_base_/models/corrclip2_vit-b16.py',
    '../_base_/datasets/ade847.py',
    '../_base_/default_runtime.py',
]

bank = _base_.data_root + '/memory_bank'
model = dict(
    text_head=dict(queries='ade847'),
    region_masks=_base_.data_root + '/instance_mask/ade847/{stem}.npz',
    memory=dict(bank=bank, index=bank + '/vfm_embeddings/coco_radiov3.faiss'),
)
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (2048, 448)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
