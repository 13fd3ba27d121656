"""Triton kernels of the two phases, and the calls that run them on plain tensors.

`separable`: windows that are products of a row and a column factor; `whole`: one window, the image; `masks`: windows of any form.
`calls` says what they have in common.
"""
