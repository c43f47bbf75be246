"""Chest CT and X-ray images in, one table of infection percentages out."""

__version__ = "0.1.0"

# The names for notebooks (docs/api.md); found in `covidpipe.api` when they are first used, so that importing this
# package stays instant. Type checkers read them in __init__.pyi.
__all__ = [
    "Cohort",
    "CovidpipeError",
    "Image",
    "Masks",
    "build_model",
    "draw_overlay",
    "enhance_image",
    "list_models",
    "measure",
    "open_cohort",
    "phantom_image",
    "predict_masks",
    "read_image",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. For notebooks: {', '.join(__all__)}")
    import importlib  # not by an import of `covidpipe.api`: each stage's code fingerprint would then hold all code

    return getattr(importlib.import_module(f"{__name__}.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
