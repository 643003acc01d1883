"""Which libraries are there."""

import importlib.util


def there(module):
    return importlib.util.find_spec(module) is not None


def check_extra(what, extra, *modules):
    """ValueError unless all modules are there: it says what the file is or has, and which extra brings them."""
    if not all(map(there, modules)):
        raise ValueError(f"{what}: pip install '.[{extra}]' in this project's folder brings what reads it")
