_base_ = './one_whu_sat_ii.py'

model = dict(test_cfg=dict(logit_scale=50.0, prob_thd=0.7, bg_idx=0, pad_multiple=16))
