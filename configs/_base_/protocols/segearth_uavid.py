_base_ = './one_uavid.py'

model = dict(test_cfg=dict(logit_scale=50.0, prob_thd=0.3, bg_idx=0, pad_multiple=16))
