"""User-defined methods, named by module and class, and the modules that configs import."""

import importlib
import os
import sys
from typing import Any, NamedTuple

from mmengine.config import Config

from .utils.errors import InputError


class CustomMethod(NamedTuple):
    """A user-defined method.

    Attributes:
        name: Class name.
        options: Config values, by dotted keys, that select the method.
    """

    name: str
    options: dict[str, Any]


def is_custom(method: str) -> bool:
    """Whether a method is written as ``package.module:Class``."""
    return ':' in method


def find_custom(method: str) -> CustomMethod:
    """Import a user-defined method.

    Args:
        method: ``package.module:Class``. The module must be on ``PYTHONPATH`` or in the current
            folder.

    Raises:
        InputError: If there is no such module or class, or the class is not registered.
    """
    from .registry import METHODS

    module, _, name = method.partition(':')
    if not all(map(str.isidentifier, [*module.split('.'), name])):
        raise InputError(f"method='{method}' must have the form my_package.my_module:MyMethod")
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
    """Import the modules in a config's ``custom_imports``, including those set by options.

    Raises:
        InputError: If a module does not exist.
    """
    wanted = cfg.get('custom_imports') or {}
    imports = wanted.get('imports') if isinstance(wanted, dict) else None
    if imports is None:
        if wanted:
            raise InputError(
                f"custom_imports={wanted!r} must look like dict(imports=['my_package.my_module'])"
            )
        return
    for module in [imports] if isinstance(imports, str) else imports:
        try:
            import_module(module)
        except InputError:
            if not wanted.get('allow_failed_imports'):
                raise


def import_module(name: str) -> Any:
    """Import a user's module, also from the current folder.

    Raises:
        InputError: If it does not exist. Other errors in the module propagate.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # Python does so for scripts, but not for the sclip command
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f'{name}.'.startswith(f'{error.name}.'):
            raise  # the module itself imports something missing
        raise InputError(
            f'module {name} does not exist on PYTHONPATH or in {os.getcwd()}: write the name as in '
            'an import statement, without .py'
        ) from error
