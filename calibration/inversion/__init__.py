"""Inversion: interferograms of a characterized Fabry-Perot instrument to spectra with error bars.

`problem` says what is measured and what comes out, `registry` and `methods/` how, `invert` is the front; `lines` and
`scenes` measure the methods on held-out monochromator lines and on known scenes.
"""
