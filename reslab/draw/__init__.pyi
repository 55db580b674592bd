from .depth_chart import depth as depth
from .layout import picture as picture
from .pictures import blocks as blocks
from .pictures import networks as networks
