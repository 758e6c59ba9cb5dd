"""Options derived from configs, and options that several commands share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from wherefrom.core.compute import device
from wherefrom.core.config import Config, SettingInfo
from wherefrom.core.errors import InputError

if TYPE_CHECKING:
    from wherefrom.generators.generator import Generator

C = TypeVar("C", bound=Config)
F = TypeVar("F", bound=Callable[..., Any])
Presets = Mapping[str, Config]

resolve_device = device.resolve_device  # what `device_option` gives is passed through it
DEST = "setting"
FILE = click.Path(path_type=Path)


PARAMETER, BEFORE = (
    "parameter",
    "before",
)  # metadata of the fields that `option` and `argument` make


def option(
    help: str,  # noqa: A002 (the word of click)
    default: Any = None,
    *,
    flag: str | None = None,
    kind: click.ParamType[Any] | None = None,
    before: str | None = None,
    **attributes: Any,
) -> Any:
    """A field of an options class, and the option that fills it; its annotation gives the type.

    `flag`: where it is not the field's name.  `low`, `high`, `choices`: what may be given.  `kind`:
    of values that the annotation does not say.  `before`: the field of a base that it stands before
    in the help.  `attributes`: those of `click.option`.
    """

    def declare(field: dataclasses.Field[Any]) -> Callable[[F], F]:
        names = [flag or f"--{field.name.replace('_', '-')}", field.name]
        given = {"help": help, **attributes}
        plain = str(field.type).removesuffix(" | None")
        if kind is None and plain.startswith("tuple["):
            plain, given["multiple"] = plain[len("tuple[") : -len(", ...]")], True
        if default is not None:
            given["default"] = default
        if plain != "bool":
            given["type"] = kind or _kind_of(plain, given)
        elif "/" not in names[0]:
            given["is_flag"] = True
        return click.option(*names, **given)

    return dataclasses.field(metadata={PARAMETER: declare, BEFORE: before})


def _kind_of(plain: str, given: dict[str, Any]) -> Any:
    """The type of click for an annotation, within limits that are taken out of `given`."""
    low, high, choices = (given.pop(name, None) for name in ("low", "high", "choices"))
    if choices is not None:
        return click.Choice(choices)
    if plain == "int" and (low, high) != (None, None):
        return click.IntRange(low, high)
    return {"Path": FILE, "int": int, "float": float, "str": str}[plain]


def argument(*, required: bool = True) -> Any:
    """A field of an options class that is an argument; a tuple takes one or more, or any number."""

    def declare(field: dataclasses.Field[Any]) -> Callable[[F], F]:
        kind = FILE if "Path" in str(field.type) else str
        count = -1 if str(field.type).startswith("tuple[") else 1
        return click.argument(field.name, type=kind, nargs=count, required=required)

    return dataclasses.field(metadata={PARAMETER: declare})


def use(decorator: Callable[[Any], Any], *, before: str | None = None) -> Any:
    """A field of an options class that an option of several commands fills."""
    return dataclasses.field(metadata={PARAMETER: lambda _: decorator, BEFORE: before})


def with_options(options: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a command that takes the session, and its options as one value.

    `options` is a frozen dataclass whose fields `option`, `argument` and `use` have made; those
    whose names are in its `LAST` come last in the help.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_values(session: Any, **given: Any) -> Any:
            return function(session, options(**given))

        command: Callable[..., Any] = click.pass_obj(with_values)
        fields, last = list(dataclasses.fields(options)), getattr(options, "LAST", ())
        fields.sort(key=lambda field: last.index(field.name) if field.name in last else -1)
        for field in [field for field in fields if field.metadata.get(BEFORE)]:
            fields.remove(field)
            place = [other.name for other in fields].index(field.metadata[BEFORE])
            fields.insert(place, field)
        for field in reversed(fields):
            if PARAMETER in field.metadata:
                command = field.metadata[PARAMETER](field)(command)
        return command

    return decorate


def default_of(config: str, **values: Any) -> Callable[[], Presets]:
    """The defaults of a config (`module:Class` in `wherefrom`) for a `ConfigCommand`.

    `values` are defaults of this command that differ from those of the config.
    """

    def presets() -> Presets:
        module, _, name = config.partition(":")
        return {"default": getattr(import_module(f"wherefrom.{module}"), name)(**values)}

    return presets


class ConfigCommand(click.Command):
    """A command with one option per setting of a config.

    `presets` is called when the options are needed, not before: importing a config imports its
    method.  Its first entry gives the defaults; with several entries there is a `--preset`.  The
    callback receives the resolved config as `config`; only options that were given override it.
    """

    def __init__(self, *args: Any, presets: Callable[[], Presets], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._presets = presets
        self._derived: list[click.Parameter] = []

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The declared options, then the derived ones."""
        if not self._derived:
            self._derived = list(self.derive())
        declared = super().get_params(ctx)
        return [*declared[:-1], *self._derived, declared[-1]]  # --help stays last

    def derive(self) -> Iterator[click.Parameter]:
        """The options that the settings give."""
        presets = self._presets()
        yield from _preset_option(list(presets))
        yield from _options_of(next(iter(presets.values())), DEST, "--")

    def resolve(self, ctx: click.Context, given: Mapping[str, Any]) -> Config:
        """The config of the preset, with the settings that were given by dotted name."""
        presets = self._presets()
        return presets[ctx.params.pop("preset", next(iter(presets)))].with_values(given)

    def invoke(self, ctx: click.Context) -> Any:
        """Replace the derived parameters by `config`."""
        given = {}
        for name in [name for name in ctx.params if name.startswith(f"{DEST}__")]:
            value = ctx.params.pop(name)
            if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
                given[name.removeprefix(f"{DEST}__").replace("__", ".")] = value
        ctx.params["config"] = self.resolve(ctx, given)
        return super().invoke(ctx)


class MethodCommand(ConfigCommand):
    """A `ConfigCommand` with `--method`, and an option for every setting of any method.

    `methods` gives the presets by method's name, when they are needed.  Without `--method` the
    first method is taken that has the preset and every setting given.  The help of a setting says
    which methods have it, unless all do.  The callback gets `method` besides `config`.
    """

    def __init__(self, *args: Any, methods: Callable[[], Mapping[str, Presets]], **kwargs: Any):
        super().__init__(*args, presets=lambda: next(iter(methods().values())), **kwargs)
        self._methods = methods

    def derive(self) -> Iterator[click.Parameter]:
        """`--method`, `--preset`, then the settings of all methods, each once."""
        methods = self._methods()
        first = next(iter(methods))
        yield click.Option(
            ["--method"],
            type=click.Choice(list(methods)),
            help=f"Method that judges images.  [default: {first}, or the first that has the preset "
            "and the settings given]",
        )
        yield from _preset_option(list(dict.fromkeys(n for p in methods.values() for n in p)))
        owners: dict[str, list[tuple[str, click.Option]]] = {}
        for name, presets in methods.items():
            for option in _options_of(next(iter(presets.values())), DEST, "--"):
                owners.setdefault(str(option.name), []).append((name, option))
        for pairs in owners.values():
            yield _shared_option(pairs, everyone=len(pairs) == len(methods))

    def resolve(self, ctx: click.Context, given: Mapping[str, Any]) -> Config:
        """The config of the method; an `InputError` for a preset or setting that it lacks."""
        methods, preset = self._methods(), ctx.params.pop("preset")
        if ctx.params["method"] is None:
            having = (
                name
                for name, presets in methods.items()
                if preset in presets and _names_in(presets[preset]).issuperset(given)
            )
            ctx.params["method"] = next(having, next(iter(methods)))
        method = ctx.params["method"]
        presets = methods[method]
        if preset not in presets:
            raise InputError(f"{method} has no preset {preset!r}; it has {', '.join(presets)}")
        for name in given:
            if name not in _names_in(presets[preset]):
                flag = name.replace(".", "-").replace("_", "-")
                raise InputError(
                    f"--{flag} is no setting of the method {method}; leave it out (--help says "
                    "which methods have it)"
                )
        return presets[preset].with_values(given)


def _names_in(config: Config) -> set[str]:
    """The names of all settings, with dots."""
    return {
        str(option.name).removeprefix(f"{DEST}__").replace("__", ".")
        for option in _options_of(config, DEST, "--")
    }


def _shared_option(pairs: list[tuple[str, click.Option]], *, everyone: bool) -> click.Option:
    """One option for a setting of several methods, which may differ in its default."""
    option = pairs[0][1]
    if not everyone:
        option.help = f"{option.help}  [{', '.join(name for name, _ in pairs)}]"
    other = {name: o.default for name, o in pairs if o.default != option.default}
    if other:
        others = ", ".join(f"{value} ({name})" for name, value in other.items())
        option.show_default = f"{option.default}; {others}"
    return option


def _preset_option(names: list[str]) -> Iterator[click.Option]:
    if len(names) > 1:
        yield click.Option(
            ["--preset"],
            type=click.Choice(names),
            default=names[0],
            help="Named settings; the options below override single ones.",
        )


def _options_of(config: Config, dest: str, flag: str) -> Iterator[click.Option]:
    for info in config.describe():
        value = getattr(config, info.name)
        name = f"{flag}{info.name.replace('_', '-')}"
        if isinstance(value, Config):
            yield from _options_of(value, f"{dest}__{info.name}", f"{name}-")
        else:
            yield _option(info, value, f"{dest}__{info.name}", name)


def _option(info: SettingInfo, default: Any, dest: str, flag: str) -> click.Option:
    source = f"  ({info.source})" if info.source else ""
    if info.type is bool:
        declaration = [dest, f"{flag}/--no-{flag.removeprefix('--')}"]
        return click.Option(
            declaration, default=default, show_default=True, help=info.help + source
        )
    kind: click.ParamType[Any] = (
        click.Choice(info.choices) if info.choices else click.types.convert_type(info.type)
    )
    return click.Option(
        [dest, flag],
        type=OrNone(kind) if info.optional else kind,
        default=default,
        show_default="none" if default is None else True,
        help=info.help + source,
    )


class OrNone(click.ParamType[Any]):
    """A value of another type, or the word `none`."""

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.kind = kind
        self.name = f"{kind.name}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """None for `none`, else what the other type makes of it."""
        return None if value == "none" else self.kind.convert(value, param, ctx)


class Numbers(click.ParamType[tuple[Any, ...]]):
    """Numbers separated by commas, as in `100,1,1`."""

    def __init__(self, kind: type[int] | type[float], example: str, count: int | None = None):
        self.kind, self.example, self.count = kind, example, count
        self.name = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """The numbers as a tuple."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self.kind(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if not numbers or len(numbers) != (self.count or len(numbers)):
            self.fail(f"{value!r} is not of the form {self.example}", param, ctx)
        return numbers


class NamedFolder(click.ParamType[tuple[str, Path]]):
    """`name=folder`."""

    name = "name=folder"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path]:
        """The name and the path."""
        if isinstance(value, tuple):
            return value
        name, separator, path = value.partition("=")
        if not (name and separator and path):
            self.fail(f"{value!r} is not of the form name=folder", param, ctx)
        return name, Path(path)


device_option = click.option(  # to be passed through `resolve_device`
    "--device",
    default="auto",
    help="auto, cpu, cuda, cuda:1 or mps; auto is the fastest available.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
seed_option = click.option("--seed", default=0, help="Seed of every draw.")
csv_option = click.option("--csv", type=FILE, help="Also write the table there (.csv is replaced).")
report_option = click.option(
    "--report", type=FILE, help="Also write a page there (.html is replaced)."
)


@dataclass(frozen=True, kw_only=True)
class CourseOptions:
    """How often a training of a generator writes."""

    sample_every: int = option("Steps between two grids of samples.", 1000, low=1)
    checkpoint_every: int = option("Steps between two checkpoints.", 500, low=1)


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """A generator, and how `generators.loading.load_generator` reads it."""

    spec: str | None
    weights: Path | None = option("A .safetensors file, or plain tensors in .pt.")
    latent: tuple[int, ...] | None = option(
        "Shape of one latent; default: detected.", kind=Numbers(int, "100,1,1")
    )
    value_range: tuple[float, float] | None = option(
        "Lowest and highest value of the generator's output; default: detected.",
        kind=Numbers(float, "-1,1", 2),
    )

    def load(self) -> Generator:
        """The generator; an `InputError` if none is named."""
        from wherefrom.generators.loading import load_generator

        if self.spec is None:
            raise InputError("no generator is named; give --generator")
        return load_generator(
            self.spec, weights=self.weights, latent=self.latent, value_range=self.value_range
        )

    def load_if_named(self) -> Generator | None:
        """The generator where one is named; an `InputError` for options that then say nothing."""
        if self.spec is not None:
            return self.load()
        for option, value in {
            "--weights": self.weights,
            "--latent": self.latent,
            "--value-range": self.value_range,
        }.items():
            if value is not None:
                raise InputError(f"{option} says something about a generator; give --generator")
        return None


def check_output(path: Path | None, option: str, *suffixes: str) -> None:
    """Refuse an impossible output file before the long work; None is not wanted, so possible.

    `suffixes`: endings that its name may have, by default those of a page.
    """
    if path is not None:
        from wherefrom.report.pages.files import check_target
        from wherefrom.report.pages.html import PAGE_SUFFIXES

        check_target(path, option=option, suffixes=suffixes or PAGE_SUFFIXES)
