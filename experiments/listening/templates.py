"""Where the pages of this package find their templates: here, and their style among those of the reports."""

from functools import lru_cache

import jinja2


@lru_cache
def environment() -> jinja2.Environment:
    """The templates of this package, and behind them those of `experiments.report`."""
    loaders = [jinja2.PackageLoader(package, "") for package in ("experiments.listening", "experiments.report")]
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
