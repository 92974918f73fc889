"""hsitools: from monochromatic captures to calibrated, fused and denoised hyperspectral cubes.

The core that every other room stands on: sensor physics (`hsitools.sensor`), file formats, figures, reports and the
``hsi`` command. Importing it loads neither torch nor matplotlib.
"""

__version__ = "0.1.0"
