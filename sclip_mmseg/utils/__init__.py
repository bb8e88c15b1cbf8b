"""Files, errors, and quirks of other packages."""


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register what this package and mmseg have, as packages of OpenMMLab offer it.

    Args:
        init_default_scope: Whether ``mmseg``, in whose registries all is, becomes mmengine's
            default scope.
    """
    from mmseg.utils import register_all_modules

    import sclip_mmseg  # noqa: F401  # on import

    register_all_modules(init_default_scope)


__all__ = ['register_all_modules']
