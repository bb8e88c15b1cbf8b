_base_ = './one_isaid.py'

model = dict(test_cfg=dict(logit_scale=50.0, prob_thd=0.4, bg_idx=0, pad_multiple=16))
