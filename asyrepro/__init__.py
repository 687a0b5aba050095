"""Reproduction of Zhu et al., "Asymmetric Loss Based on Image Properties for Deep Learning-Based
Image Restoration" (CMC 77(3), 2023, doi 10.32604/cmc.2023.045878)."""

__version__ = "0.1.0"
