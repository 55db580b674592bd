from .layer import Stacked as Stacked
from .slices import Slice as Slice
from .slices import assign as assign
from .slices import holders as holders
from .slices import read as read
from .slices import variables as variables
