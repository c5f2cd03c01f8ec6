"""Settings: frozen dataclasses from which the command line's flags, its help and a run's config.json come."""

from dataclasses import asdict, field, fields
from typing import Any


def setting(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    """A dataclass field with a sentence for people."""
    return field(default=default, metadata={"help": help, "choices": choices})


def to_config(settings: Any) -> dict[str, Any]:
    """Plain JSON values of a settings dataclass."""
    return asdict(settings)


def from_config(cls: type, config: dict[str, Any]) -> Any:
    """The settings of class `cls` with these values; ValueError for one that it does not have."""
    known = [f.name for f in fields(cls)]
    for name in config:
        if name not in known:
            owner = getattr(cls, "name", cls.__name__)
            raise ValueError(f"{name} is no setting of {owner}; it has: {', '.join(known) or 'none'}")
    return cls(**config)


def check(condition: bool, name: str, value: Any, remedy: str) -> None:
    """ValueError naming the setting, its value and the remedy, unless the condition holds."""
    if not condition:
        raise ValueError(f"{name}={value} {remedy}")
