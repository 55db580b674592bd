"""Functions from network to network: `plain(net)`, `without_bn(net)`, `stochastic(net)`."""
