"""Methods of a user's own, named by module and class, and the modules that configs import."""

import importlib
import os
import sys
from typing import Any, NamedTuple

from mmengine.config import Config

from .utils.errors import InputError


class CustomMethod(NamedTuple):
    """A method of a user's own.

    Attributes:
        name: Name of its class.
        options: What makes it the method of a config: values by dotted keys.
    """

    name: str
    options: dict[str, Any]


def is_custom(method: str) -> bool:
    """Whether a method is named as ``package.module:Class``."""
    return ':' in method


def find_custom(method: str) -> CustomMethod:
    """Import a method of a user's own.

    Args:
        method: ``package.module:Class``. The module lies on ``PYTHONPATH`` or in the current
            folder.

    Raises:
        InputError: If there is no such module or class, or the class is not registered.
    """
    from .registry import METHODS

    module, _, name = method.partition(':')
    if not all(map(str.isidentifier, [*module.split('.'), name])):
        raise InputError(f"method='{method}' is not as in my_package.my_module:MyMethod")
    found = getattr(import_module(module), name, None)
    if not isinstance(found, type):
        raise InputError(f"method='{method}': module {module} has no class {name}")
    if METHODS.get(name) is not found:
        raise InputError(
            f"method='{method}' is not in the registry of methods: write "
            f'@METHODS.register_module() above class {name} (from sclip_mmseg.registry import '
            'METHODS)'
        )
    imports = dict(imports=['sclip_mmseg', module], allow_failed_imports=False)
    key = 'model.image_encoder.method'
    return CustomMethod(name, {'custom_imports': imports, key: dict(type=name, _delete_=True)})


def import_customs(cfg: Config) -> None:
    """Import what a config's ``custom_imports`` name, which options may have added.

    Raises:
        InputError: If a module does not exist.
    """
    wanted = cfg.get('custom_imports') or {}
    imports = wanted.get('imports') if isinstance(wanted, dict) else None
    if imports is None:
        if wanted:
            raise InputError(
                f"custom_imports={wanted!r} must be as in dict(imports=['my_package.my_module'])"
            )
        return
    for module in [imports] if isinstance(imports, str) else imports:
        try:
            import_module(module)
        except InputError:
            if not wanted.get('allow_failed_imports'):
                raise


def import_module(name: str) -> Any:
    """Import a module of a user's, from the current folder too.

    Raises:
        InputError: If it does not exist. What else it raises is passed on.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as Python does for scripts, not for the command sclip
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f'{name}.'.startswith(f'{error.name}.'):
            raise  # which the module itself imports
        raise InputError(
            f'module {name} does not exist on PYTHONPATH or in {os.getcwd()}: write its name as in '
            'an import, without .py'
        ) from error
