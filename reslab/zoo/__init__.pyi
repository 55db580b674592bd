from .registry import NETWORKS as NETWORKS
from .registry import PAGES as PAGES
from .registry import network as network
