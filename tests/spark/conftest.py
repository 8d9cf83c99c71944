"""One Spark cluster for all tests: a master and two worker processes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from reccore import ConfigError
from spark.session import spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The session. Where REQUIRE_SERVICES is set, the absence of pyspark or Java is a failure."""
    conf = {"spark.sql.shuffle.partitions": "3", "spark.ui.enabled": "false"}
    session = spark_session("local-cluster[2,1,1024]", conf)
    try:
        entered = session.__enter__()
    except ConfigError as error:
        pytest.fail(str(error)) if os.environ.get("REQUIRE_SERVICES") else pytest.skip(str(error))
    yield entered
    session.__exit__(None, None, None)
