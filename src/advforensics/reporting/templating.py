"""Templates of pages."""

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str) -> Template:
    """Return a template of this package. Text is escaped, and a name that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("advforensics.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name)
