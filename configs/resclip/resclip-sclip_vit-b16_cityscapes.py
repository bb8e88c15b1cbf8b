_base_ = '../_base_/protocols/cityscapes.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='ResCLIP',
            base=dict(type='SCLIP'),
            rcs=dict(tau=2.0, lam=0.2),
            sfr=dict(tau=2.1, lam=0.6, temp_thd=0.1),
        )
    )
)
