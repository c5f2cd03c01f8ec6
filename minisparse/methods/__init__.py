"""One paper, one file; each reads beside its paper."""

from minisparse.methods.base import Method
from minisparse.methods.compose import Compose
from minisparse.methods.deep_compression import DeepCompression
from minisparse.methods.dropback import DropBack
from minisparse.methods.espn import ESPN, ESPNRewind
from minisparse.methods.force import FORCE, IterativeSNIP
from minisparse.methods.grasp import GraSP
from minisparse.methods.lottery import LotteryTicket
from minisparse.methods.magnitude import Magnitude
from minisparse.methods.magnitude_init import MagnitudeAtStart
from minisparse.methods.prune_retrain import PruneRetrain
from minisparse.methods.random import RandomPruning
from minisparse.methods.snip import SNIP
from minisparse.methods.soft_weight_sharing import SoftWeightSharing
from minisparse.methods.trained_quantisation import TrainedQuantisation

__all__ = [
    "ESPN",
    "FORCE",
    "SNIP",
    "Compose",
    "DeepCompression",
    "DropBack",
    "ESPNRewind",
    "GraSP",
    "IterativeSNIP",
    "LotteryTicket",
    "Magnitude",
    "MagnitudeAtStart",
    "Method",
    "PruneRetrain",
    "RandomPruning",
    "SoftWeightSharing",
    "TrainedQuantisation",
]
