_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_bdd100k',
        data_root=_base_.data_root + '/mess/bdd100k',
        data_prefix=dict(img_path='images/10k/val', seg_map_path='annotations_detectron2/val'),
    )
)
