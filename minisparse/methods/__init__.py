"""One paper, one file; each reads beside its paper."""

from minisparse.methods.base import Method
from minisparse.methods.binary import Binary
from minisparse.methods.compose import Compose
from minisparse.methods.deep_compression import DeepCompression
from minisparse.methods.dorefa import DoReFa
from minisparse.methods.dropback import DropBack
from minisparse.methods.espn import ESPN, ESPNRewind
from minisparse.methods.force import FORCE, IterativeSNIP
from minisparse.methods.grasp import GraSP
from minisparse.methods.lottery import LotteryTicket
from minisparse.methods.lsq import LSQ
from minisparse.methods.magnitude import Magnitude
from minisparse.methods.magnitude_init import MagnitudeAtStart
from minisparse.methods.prune_retrain import PruneRetrain
from minisparse.methods.quantised_sparse import QuantisedSparse, QuantisedSparseLearned
from minisparse.methods.random import RandomPruning
from minisparse.methods.snip import SNIP
from minisparse.methods.soft_weight_sharing import SoftWeightSharing
from minisparse.methods.ternary import Ternary
from minisparse.methods.trained_quantisation import TrainedQuantisation
from minisparse.methods.uniform import Uniform

__all__ = [
    "ESPN",
    "FORCE",
    "LSQ",
    "SNIP",
    "Binary",
    "Compose",
    "DeepCompression",
    "DoReFa",
    "DropBack",
    "ESPNRewind",
    "GraSP",
    "IterativeSNIP",
    "LotteryTicket",
    "Magnitude",
    "MagnitudeAtStart",
    "Method",
    "PruneRetrain",
    "QuantisedSparse",
    "QuantisedSparseLearned",
    "RandomPruning",
    "SoftWeightSharing",
    "Ternary",
    "TrainedQuantisation",
    "Uniform",
]
