"""Options that choose the engine of a command: this process, or Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from reccore import ComponentConfig
from scripts._cli import Repeatable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def _pairs(value: Any) -> Any:
    """``key=value`` texts, from such texts or from a table of TOML."""
    return [f"{key}={one}" for key, one in value.items()] if isinstance(value, Mapping) else value


class EngineSettings(ComponentConfig):
    """Where a command computes."""

    engine: Literal["local", "spark"] = Field(default="local", description="this process, or Spark (docs/scale.md)")
    master: str | None = Field(
        default=None, description="of Spark: local[2], yarn, k8s://… (default: local[2], or that of spark-submit)"
    )
    spark_conf: Annotated[tuple[str, ...], BeforeValidator(_pairs), Repeatable("KEY=VALUE")] = Field(
        default=(), description="setting of Spark, such as spark.driver.memory=4g; may be repeated"
    )

    @model_validator(mode="after")
    def _has_engine(self) -> Self:
        for name in ("master", "spark_conf"):
            if self.engine == "local" and getattr(self, name):
                raise ValueError(f"--{name} is for --engine spark; give that too, or leave out --{name}")
        return self

    @contextmanager
    def spark(self) -> Iterator[SparkSession]:
        """The Spark session of the options."""
        from spark.session import parse_conf, spark_session

        with spark_session(self.master, parse_conf(self.spark_conf)) as session:
            yield session
