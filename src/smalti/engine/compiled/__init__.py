"""What the `numba` backend runs: kernels, where things lie for them, and the two programs that call them in phases."""
