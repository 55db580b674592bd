"""The standard deviations of layer responses: He et al. 2015, Fig. 7."""
