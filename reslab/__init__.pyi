from . import data as data
from . import draw as draw
from . import spec as spec
from . import transforms as transforms
from . import weights as weights
from .acceleration.accelerate import accelerate as accelerate
from .core.errors import UserError as UserError
from .engines.inference import inference as inference
from .evaluation.evaluation import evaluate as evaluate
from .evaluation.prediction import predict as predict
from .formats.benchmark import benchmark as benchmark
from .formats.export import export as export
from .formats.pushing import push as push
from .models.saved import load as load
from .runs.papers import recipe as recipe
from .runs.recipe import Recipe as Recipe
from .runs.run import Run as Run
from .serving.serve import serve as serve
from .spec.network import Network as Network
from .training.batchnorm import recalibrate as recalibrate
from .training.train import resume as resume
from .training.train import train as train
from .weights.pretrained import create as create
from .zoo.registry import network as network

__version__: str
