"""Samplers of the probability-flow ODE: they turn any denoiser into a generator of images.

    dz/dsigma = (z - D(z, sigma)) / sigma,   z(sigma_max) ~ N(0, sigma_max^2 I),   integrated from sigma_max down to 0

`sample` runs it and keeps what happened; `trajectory` yields it step by step; a solver is one small function. `generate` goes from coarse
to fine instead, with a denoiser for each scale; `coarse_to_fine_steps` yields that step by step.
"""

from smalti.sampling.coarse_to_fine import ScaleStep, coarse_to_fine_steps
from smalti.sampling.generation import GenerateResult, generate
from smalti.sampling.like import LikeResult, generate_like
from smalti.sampling.sampler import Neighbours, SampleResult, Step, initial_noise, sample, sampling_sigmas, trajectory
from smalti.sampling.solvers import SOLVERS, Solver, euler, find_solver, heun

__all__ = [
    "SOLVERS",
    "GenerateResult",
    "LikeResult",
    "Neighbours",
    "SampleResult",
    "ScaleStep",
    "Solver",
    "Step",
    "coarse_to_fine_steps",
    "euler",
    "find_solver",
    "generate",
    "generate_like",
    "heun",
    "initial_noise",
    "sample",
    "sampling_sigmas",
    "trajectory",
]
