_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_cryonuseg',
        data_root=_base_.data_root + '/mess/CryoNuSeg',
        data_prefix=dict(img_path='images_detectron2', seg_map_path='annotations_detectron2'),
    )
)
