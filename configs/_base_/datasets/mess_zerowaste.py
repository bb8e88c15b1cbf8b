_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_zerowaste',
        data_root=_base_.data_root + '/mess/zerowaste-f',
        data_prefix=dict(
            img_path='splits_final_deblurred/test/data',
            seg_map_path='splits_final_deblurred/test/sem_seg',
        ),
    )
)
