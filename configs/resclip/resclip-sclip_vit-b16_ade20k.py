_base_ = '../_base_/protocols/ade20k.py'

model = dict(
    image_encoder=dict(
        attention=dict(
            type='ResCLIPAttention',
            base=dict(type='CSA'),
            rcs=dict(tau=2.0, lam=0.3),
            sfr=dict(tau=2.1, lam=0.7, temp_thd=0.25),
        )
    )
)
