_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_cwfid',
        data_root=_base_.data_root + '/mess/cwfid',
        data_prefix=dict(img_path='images', seg_map_path='annotations_detectron2/test'),
        img_suffix='_image.png',
        seg_map_suffix='_annotation.png',
        labelled_only=True,
    )
)
