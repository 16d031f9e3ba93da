"""The one error of this package: a layout that cannot exist, or an operation without a result."""


class LayoutError(ValueError):
    """A request that no layout satisfies; the message shows the layouts and numbers involved."""
