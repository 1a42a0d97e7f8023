"""A plugin of each kind that keeps every promise, and for each check one that breaks that promise."""

from tests.support.testing.broken.commands import Greet
from tests.support.testing.broken.decoders import GoodDecoder
from tests.support.testing.broken.executors import GoodExecutor
from tests.support.testing.broken.filters import GoodFilter
from tests.support.testing.broken.listeners import GoodListener
from tests.support.testing.broken.loaders import GoodLoader
from tests.support.testing.broken.renderers import GoodRenderer
from tests.support.testing.broken.rules import GoodRule
from tests.support.testing.broken.settings import GoodSettings
from tests.support.testing.broken.sources import GoodSource
from tests.support.testing.broken.transformers import GoodTransformer
from tests.support.testing.broken.views import GoodView

GOOD = {
    "source": GoodSource,
    "loader": GoodLoader,
    "decoder": GoodDecoder,
    "filter": GoodFilter,
    "transformer": GoodTransformer,
    "view": GoodView,
    "renderer": GoodRenderer,
    "rule": GoodRule,
    "executor": GoodExecutor,
    "listener": GoodListener,
    "settings": GoodSettings,
    "command": Greet,
}
