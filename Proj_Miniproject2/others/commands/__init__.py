"""The commands of `noise2noise`: each is a module with `add_arguments`, `main`, and a docstring that is its help."""
