"""A plugin of each kind that keeps every promise, and for each check one that breaks that promise."""

from tests.testing.broken.commands import Greet
from tests.testing.broken.decoders import GoodDecoder
from tests.testing.broken.executors import GoodExecutor
from tests.testing.broken.filters import GoodFilter
from tests.testing.broken.loaders import GoodLoader
from tests.testing.broken.renderers import GoodRenderer
from tests.testing.broken.rules import GoodRule
from tests.testing.broken.settings import GoodSettings
from tests.testing.broken.sources import GoodSource
from tests.testing.broken.transformers import GoodTransformer
from tests.testing.broken.views import GoodView

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
    "settings": GoodSettings,
    "command": Greet,
}
