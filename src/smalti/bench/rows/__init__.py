"""The rows of the benchmark's table. Each module has functions (setup) -> jobs; a job yields one or more measurements."""
