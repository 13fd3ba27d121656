"""smalti: training-free diffusion denoisers, exact and fast, on one engine.

    import smalti

    source   = smalti.Source.open("digits")
    denoiser = smalti.PSPCSquare(source)
    result   = smalti.sample(denoiser, n=16, steps=18, solver="heun", seed=0)

Images are in [-1, 1]; z = x + sigma * noise (variance exploding); every denoiser is called as `denoiser(z, sigma, labels=None)`.
The names are listed in `__init__.pyi` and imported when they are first used, so that `smalti --help` need not wait for torch.
"""

from typing import Any

import lazy_loader

from smalti.core.working_folder import check_working_folder

_named, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*_names, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from smalti.core.code import package_version

        return package_version()
    check_working_folder()
    return _named(name)


def __dir__() -> list[str]:
    return __all__
