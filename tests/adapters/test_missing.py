"""Without the other package, a line says what to install."""

from __future__ import annotations

import sys

import pytest

import smalti
from smalti.adapters import azula_denoiser, diffusers_model


@pytest.mark.parametrize(("adapter", "package"), [(diffusers_model, "diffusers"), (azula_denoiser, "azula")])
def test_a_missing_package_is_named(adapter, package, monkeypatch):
    for module in [package, *(known for known in sys.modules if known.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"smalti.adapters.{package}", raising=False)
    with pytest.raises(smalti.InputError, match=rf"this adapter needs {package}: pip install 'smalti\[{package}\]'"):
        adapter(None, None)
