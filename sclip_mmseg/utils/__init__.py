"""Utilities for files, errors and compatibility with other packages."""


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register all modules of this package and of mmseg, as OpenMMLab's packages do.

    Args:
        init_default_scope: Whether ``mmseg``, which owns the registries, becomes mmengine's default
            scope.
    """
    from mmseg.utils import register_all_modules

    import sclip_mmseg  # noqa: F401  # registers on import

    register_all_modules(init_default_scope)


__all__ = ['register_all_modules']
