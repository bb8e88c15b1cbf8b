_base_ = '../_base_/protocols/context59.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='ResCLIP',
            base=dict(type='SCLIP'),
            rcs=dict(tau=2.0, lam=0.4),
            sfr=dict(tau=1.8, lam=0.7, temp_thd=0.25),
        )
    )
)
