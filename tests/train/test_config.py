"""override: text becomes the field's type, nothing else changes, and what does not fit is refused by name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnnkit.bench import BenchConfig
from gnnkit.train import TrainConfig, override


@dataclass(frozen=True)
class Leaf:
    """The innermost config."""

    width: int = 4
    rate: float = 0.5


@dataclass(frozen=True)
class Branch:
    """A config of configs."""

    leaf: Leaf = Leaf()
    depth: int = 2


@dataclass(frozen=True)
class Tree:
    """One field of every type that override reads."""

    branch: Branch = Branch()
    count: int = 1
    rate: float = 0.1
    flag: bool = False
    name: str = "oak"
    kind: Literal["wide", "tall"] = "wide"
    fanout: tuple[int, ...] = (15, 10)
    rates: tuple[float, ...] = ()
    limit: int | None = None
    share: float | None = 0.5

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count: expected a number >= 0 (got {self.count})")


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("count=7", "count", 7),
        ("count= 7 ", "count", 7),
        ("count =7", "count", 7),
        ("rate=3e-4", "rate", 3e-4),
        ("rate=2", "rate", 2.0),
        ("rate=-.5", "rate", -0.5),
        ("flag=true", "flag", True),
        ("flag=False", "flag", False),
        ("name=elm", "name", "elm"),
        ("name=a=b", "name", "a=b"),
        ("name=", "name", ""),
        ("kind=tall", "kind", "tall"),
        ("fanout=15,10,5", "fanout", (15, 10, 5)),
        ("fanout=3", "fanout", (3,)),
        ("fanout=1, 2", "fanout", (1, 2)),
        ("fanout=", "fanout", ()),
        ("rates=0.5,1", "rates", (0.5, 1.0)),
        ("limit=9", "limit", 9),
        ("limit=none", "limit", None),
        ("share=None", "share", None),
        ("share=0.25", "share", 0.25),
    ],
)
def test_text_is_read_as_the_type_of_the_field(setting: str, field: str, value: Any) -> None:
    # another value before, so that a setting that does nothing is seen
    start = Tree(limit=1, flag=value is not True) if field in ("limit", "flag") else Tree()
    result = getattr(override(start, setting), field)
    assert result == value
    assert type(result) is type(value)


@given(st.integers(), st.floats(allow_nan=False))
def test_every_number_survives_its_own_text(whole: int, real: float) -> None:
    result = override(Leaf(), f"width={whole}", f"rate={real!r}")
    assert (result.width, result.rate) == (whole, real)


@given(st.lists(st.integers()))
def test_every_tuple_survives_its_own_text(numbers: list[int]) -> None:
    assert override(Tree(), "fanout=" + ",".join(map(str, numbers))).fanout == tuple(numbers)


def test_a_path_reaches_any_depth_and_leaves_the_rest_alone() -> None:
    start = Tree(name="elm", branch=Branch(depth=5))
    result = override(start, "branch.leaf.rate=0.25", "branch.leaf.width=9")
    assert result == Tree(name="elm", branch=Branch(depth=5, leaf=Leaf(width=9, rate=0.25)))


def test_settings_apply_from_left_to_right() -> None:
    assert override(Tree(), "count=1", "name=elm", "count=2").count == 2


def test_no_setting_gives_an_equal_config() -> None:
    assert override(Tree()) == Tree()


def test_the_config_given_is_never_changed() -> None:
    start = Tree()
    override(start, "count=3", "branch.leaf.width=7")
    assert start == Tree()
    with pytest.raises(dataclasses.FrozenInstanceError):
        start.count = 4  # type: ignore[misc]


@pytest.mark.parametrize("config", [TrainConfig(), BenchConfig("karate", "gcn")], ids=["train", "bench"])
def test_the_configs_of_gnnkit_are_frozen_all_the_way_down(config: Any) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field.name, value)
        if dataclasses.is_dataclass(value):
            test_the_configs_of_gnnkit_are_frozen_all_the_way_down(value)
        else:
            hash(value)  # no list or dict that could change inside


@pytest.mark.parametrize(
    ("setting", "suggestion"),
    [
        ("conut=3", "did you mean 'count'?"),
        ("brnach.depth=3", "did you mean 'branch'?"),
        ("branch.leaf.widht=3", "did you mean 'width'?"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(setting: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=r"\(got '") as error:
        override(Tree(), setting)
    assert suggestion in str(error.value)


def test_a_name_like_no_other_is_answered_with_all_names() -> None:
    with pytest.raises(ValueError, match="depth") as error:
        override(Tree(), "branch.zzzzzz=1")
    assert "leaf" in str(error.value)
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("count=1.5", "a whole number"),
        ("count=", "a whole number"),
        ("count=true", "a whole number"),
        ("count=none", "a whole number"),
        ("rate=fast", "a number"),
        ("rate=1,5", "a number"),
        ("flag=1", "true or false"),
        ("flag=yes", "true or false"),
        ("flag=", "true or false"),
        ("kind=Wide", "wide or tall"),
        ("kind=", "wide or tall"),
        ("fanout=1,x", "int"),
        ("fanout=1,,2", "int"),
        ("limit=x", "int"),
    ],
)
def test_text_that_does_not_fit_is_refused_with_what_does(setting: str, expected: str) -> None:
    path, _, text = setting.partition("=")
    with pytest.raises(ValueError, match=f"override {path}: expected") as error:
        override(Tree(), setting)
    assert expected in str(error.value)
    assert str(error.value).endswith(f"(got {text!r})")


@pytest.mark.parametrize("setting", ["", "count", "=3", " = 3", "count 3"])
def test_what_is_no_assignment_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"expected path=value \(got "):
        override(Tree(), setting)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("branch=3", "branch.leaf, branch.depth"),
        ("branch.leaf=3", "branch.leaf.width, branch.leaf.rate"),
        ("count.width=3", "a field without parts"),
        ("fanout.0=3", "a field without parts"),
        ("branch..depth=3", "leaf, depth"),
        ("branch.=3", "leaf, depth"),
        (".count=3", "branch, count"),
    ],
)
def test_a_path_that_ends_too_early_or_too_late_is_refused(setting: str, named: str) -> None:
    with pytest.raises(ValueError, match=r"\(got '") as error:
        override(Tree(), setting)
    assert named in str(error.value)


def test_a_value_that_the_config_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match=r"count: expected a number >= 0 \(got -1\)"):
        override(Tree(), "count=-1")


@pytest.mark.parametrize(
    "setting",
    [
        "lr=0",
        "lr=-1",
        "lr=nan",
        "lr=inf",
        "lr=1e999",
        "weight_decay=-1e-9",
        "weight_decay=nan",
        "max_epochs=0",
        "max_epochs=-5",
        "patience=-1",
        "checkpoint_every=0",
        "eval_every=0",
        "decay=last",
        "monitor=test",
        "schedule=linear",
    ],
)
def test_training_settings_out_of_range_are_refused_by_name(setting: str) -> None:
    with pytest.raises(ValueError, match=r"\(got .+\)$") as error:
        override(TrainConfig(), setting)
    assert setting.partition("=")[0] in str(error.value)


def test_a_whole_number_too_large_for_a_float_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"max_epochs.*\(got "):
        override(TrainConfig(), "max_epochs=1" + "0" * 400)


@pytest.mark.parametrize("setting", ["lr=1e-12", "weight_decay=0", "max_epochs=1", "patience=0", "checkpoint_every=1"])
def test_the_ends_of_the_ranges_are_allowed(setting: str) -> None:
    name, _, text = setting.partition("=")
    assert getattr(override(TrainConfig(), setting), name) == float(text)


@pytest.mark.parametrize(("name", "value"), [("decay", "last"), ("monitor", ""), ("schedule", None)])
def test_the_constructor_refuses_what_override_refuses(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"train\.{name}: expected .+ or .+ \(got "):
        TrainConfig(**{name: value})
