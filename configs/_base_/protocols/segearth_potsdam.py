_base_ = './one_potsdam.py'

model = dict(test_cfg=dict(logit_scale=50.0, prob_thd=0.1, bg_idx=5, pad_multiple=16))
