"""What the `numba` backend runs: programs, which call the kernels of `smalti.engine.compiled` in phases; see `table`."""
