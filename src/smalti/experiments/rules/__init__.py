"""The rules of claims, by subject: from the tables of a report to parts, one for each network, process or denoiser.

Nothing here knows a result. Readings are positive where a claim holds, and an effect is their mean, unless the evidence names another
number. `smalti.experiments.evidence` says how readings become verdicts, `smalti.experiments.claims` has the claims.
"""
