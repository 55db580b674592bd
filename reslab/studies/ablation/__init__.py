"""The variants of a residual unit in He et al. 2016, *Identity Mappings*, Tables 1 and 2."""
