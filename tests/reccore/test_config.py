"""Configs, components, run options, workspace names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field, Tag, ValidationError

from reccore import (
    ArtefactError,
    Bundle,
    Component,
    ComponentConfig,
    ConfigError,
    NotFittedError,
    NotReadyError,
    RunOptions,
    Workspace,
)
from reccore.bundle import BundleWriter
from reccore.component import Registry
from reccore.config import by_kind
from reccore.workspace import require
from tests.helpers import checkerboard


class Inner(ComponentConfig):
    rate: float = 0.5


class ToyConfig(ComponentConfig):
    epochs: int = Field(default=3, ge=1)
    scale: float = 1.0
    weights: dict[str, float] = Field(default={})
    inner: Inner = Inner()


class Toy(Component[ToyConfig]):
    kind: ClassVar[str] = "toy"
    name: ClassVar[str] = "toy"
    Config: ClassVar[type[ComponentConfig]] = ToyConfig

    def _write(self, bundle: BundleWriter) -> None: ...

    def _read(self, bundle: Bundle) -> None: ...


class OtherToy(Toy):
    name: ClassVar[str] = "other_toy"


OTHER_TOY = {"other_toy": f"{__name__}:OtherToy"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"epoch": 3}, "epoch: .*Known options: epochs, scale"),
        ({"epochs": 0}, r"epochs: .*got 0"),
        ({"epochs": 1.5}, "epochs: "),
        ({"epochs": "many"}, "epochs: .*'many'"),
        ({"scale": float("nan")}, "scale: .*got nan"),
        ({"scale": float("inf")}, "scale: .*got inf"),
        ({"scale": None}, "scale: "),
        ({"weights": {"mf": float("nan")}}, r"weights\.mf: "),
        ({"inner": {"rat": 1}}, r"inner\.rat: "),
        ({"inner": {"rate": float("nan")}}, r"inner\.rate: "),
        ({"epochs": 0, "scale": "x"}, "epochs: .*scale: "),
    ],
)
def test_errors_name_the_option(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        ToyConfig.parse(values)
    with pytest.raises(ConfigError, match=named):
        Toy(values)


def test_known_options_are_listed_for_unknown_names_only() -> None:
    for values, listed in (({"epoch": 3, "scale": "x"}, True), ({"inner": {"rat": 1}}, True), ({"epochs": 0}, False)):
        with pytest.raises(ConfigError) as caught:
            ToyConfig.parse(values)
        assert ("Known options" in str(caught.value)) == listed


class Left(ComponentConfig):
    kind: Literal["left"] = "left"
    left: Inner | None = None


class Right(ComponentConfig):
    kind: Literal["right"] = "right"


class Chosen(ComponentConfig):
    plain: int = 0
    side: Annotated[Annotated[Left, Tag("left")] | Annotated[Right, Tag("right")], by_kind("left")] = Left()


def test_options_are_known_by_their_dotted_keys() -> None:
    known = ["plain", "side", "side.kind", "side.left", "side.left.rate"]
    unknown = ["", "left", "plain.kind", "side.right", "side.left.kind", "side.left.rate.x"]
    assert [key for key in known + unknown if Chosen.has_option(key)] == known


def test_configs_are_frozen_and_survive_a_round_trip() -> None:
    config = ToyConfig.parse({"scale": "1e-5", "inner": {"rate": 2}})
    assert config.scale == 1e-5
    assert ToyConfig.parse(config.model_dump(mode="json")) == config
    with pytest.raises(ValidationError):
        config.scale = 2.0  # type: ignore[misc]


def test_a_component_takes_its_own_config_only() -> None:
    assert Toy(ToyConfig(epochs=9)).config.epochs == 9
    with pytest.raises(ConfigError, match="toy takes a ToyConfig, got a Inner"):
        Toy(Inner())  # type: ignore[arg-type]


def test_components_and_registries_load_only_their_own_bundles(tmp_path: Path) -> None:
    toy = Toy({"epochs": 4})
    assert not toy.is_fitted
    with pytest.raises(NotFittedError, match="toy is not fitted"):
        toy.save(tmp_path / "toy")
    toy._vocabulary = checkerboard().vocabulary
    toy.save(tmp_path / "toy", seed=1)
    assert Toy.load(tmp_path / "toy").config.epochs == 4
    assert Toy.load(tmp_path / "toy").vocabulary.fingerprint == toy.vocabulary.fingerprint
    with pytest.raises(ArtefactError, match="holds 'toy', not 'other_toy'"):
        OtherToy.load(tmp_path / "toy")
    both = Registry("toy", {**OTHER_TOY, "toy": f"{__name__}:Toy"})
    assert type(both.load(tmp_path / "toy")) is Toy
    assert (both.with_option("inner.rate"), both.with_option("rate")) == (("other_toy", "toy"), ())
    with pytest.raises(ConfigError, match="unknown toy 'toy'; known: other_toy"):
        Registry("toy", OTHER_TOY).load(tmp_path / "toy")


def test_a_registry_imports_a_class_when_it_is_taken() -> None:
    registry: Registry[Toy] = Registry("toy", {**OTHER_TOY, "missing": "tests.no_such_module:Toy"})
    assert list(registry) == ["other_toy", "missing"]
    assert "missing" in registry
    assert "toy" not in registry
    assert registry["other_toy"] is OtherToy
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        registry["missing"]
    with pytest.raises(ConfigError, match="unknown toy 'toy'; known: other_toy, missing"):
        registry["toy"]


def test_run_options() -> None:
    with pytest.raises(ConfigError, match="'cuda:77' is not available here"):
        RunOptions(device="cuda:77").torch_device()
    with pytest.raises(ConfigError, match="'gpu' is not available here"):
        RunOptions(device="gpu").torch_device()


def test_random_streams_have_names_and_keep_their_numbers() -> None:
    order = (
        "network",
        "shuffle",
        "negatives",
        "label_queries",
        "validation_queries",
        "stopping_users",
        "index_queries",
    )
    for number, stream in enumerate(order):
        assert RunOptions(seed=3).generator(stream).random() == np.random.default_rng([3, number]).random()
    assert RunOptions(seed=3).generator().random() == RunOptions(seed=3).generator("network").random()
    assert RunOptions(seed=3).generator().random() != RunOptions(seed=4).generator().random()
    same = [RunOptions(seed=5).torch_generator("shuffle").initial_seed() for _ in range(2)]
    assert same[0] == same[1] != RunOptions(seed=6).torch_generator("shuffle").initial_seed()
    assert same[0] != RunOptions(seed=5).torch_generator().initial_seed()
    with pytest.raises(ValueError, match="unknown random stream 'shufle'; known: network, shuffle, negatives"):
        RunOptions().generator("shufle")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a\\b", ".hidden"])
def test_a_model_name_cannot_leave_the_models_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="not a usable model name"):
        Workspace(Path("data")).model(name)


def test_workspace_folders() -> None:
    workspace = Workspace(Path("root"))
    assert workspace.raw == Path("root/raw")
    assert workspace.prepared == Path("root/processed/two_tower")
    assert workspace.model("two_tower-2") == Path("root/models/two_tower-2")
    assert workspace.reports == Path("root/reports")


def test_require_names_the_command(tmp_path: Path) -> None:
    assert require(tmp_path, "the folder", "make_it.py") == tmp_path
    with pytest.raises(NotReadyError, match=r"run first: PYTHONPATH=\. python scripts/make_it\.py"):
        require(tmp_path / "x", "the folder", "make_it.py")


class Round(ComponentConfig):
    kind: Literal["round"] = "round"
    radius: float = 1.0


class Square(ComponentConfig):
    kind: Literal["square"] = "square"
    side: float = 2.0


class Drawing(ComponentConfig):
    shape: Annotated[Annotated[Round, Tag("round")] | Annotated[Square, Tag("square")], by_kind("round")] = Round()


def test_options_of_a_kind_exist_only_under_that_kind() -> None:
    assert Drawing.parse({"shape": {"radius": 3.0}}).shape == Round(radius=3.0)
    assert Drawing.parse({"shape": {"kind": "square", "side": 3.0}}).shape == Square(side=3.0)
    assert Drawing.parse(Drawing(shape=Square()).model_dump(mode="json")).shape == Square()
    with pytest.raises(ConfigError, match="radius: no such option"):
        Drawing.parse({"shape": {"kind": "square", "radius": 3.0}})
    with pytest.raises(ConfigError, match=r"shape.kind: unknown kind 'oval'; known: 'round', 'square'"):
        Drawing.parse({"shape": {"kind": "oval"}})
