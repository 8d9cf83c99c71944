"""A Spark session: on this machine, in a cluster, or the one that ``spark-submit`` has set up."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from reccore import ConfigError
from spark.java import java_home

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parent.parent
LOCAL_MASTER = "local[2]"
HOW_TO_INSTALL = "pip install -r requirements-spark.txt"
_LOOPBACK = "127.0.0.1"


def parse_conf(pairs: tuple[str, ...]) -> dict[str, str]:
    """Settings of Spark from texts ``key=value``.

    Raises:
        ConfigError: a text without ``=``, or a key that is none of Spark's.
    """
    conf = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.startswith("spark."):
            raise ConfigError(f"--spark_conf takes spark.<key>=<value>, such as spark.driver.memory=4g; got {pair!r}")
        conf[key] = value
    return conf


@contextmanager
def spark_session(master: str | None = None, conf: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """Start Spark, or take the session that this process already has; stop what was started.

    Args:
        master: ``local[<threads>]``, ``local-cluster[…]``, ``yarn``, ``k8s://…`` or ``spark://…``; None = that of
            ``spark-submit``, elsewhere ``local[2]``.
        conf: settings of Spark.

    Raises:
        ConfigError: pyspark or Java is missing, Spark does not start with these settings, or a job fails.
    """
    if find_spec("pyspark") is None:
        raise ConfigError(f"--engine spark needs pyspark, which is not installed: {HOW_TO_INSTALL}")
    # Tables cross as Arrow, never as pandas.
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    from pyspark.sql import SparkSession

    running = SparkSession.getActiveSession()
    if running is not None:
        with _failures():
            yield running
        return
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has started Java, and knows the master
    if not submitted:
        master = master or LOCAL_MASTER
    on_this_machine = not submitted and str(master).startswith("local")
    with java_home():
        # Settings in the program would win over the flags of spark-submit.
        session = _start(master, ({} if submitted else _defaults(on_this_machine)) | dict(conf or {}), on_this_machine)
        try:
            with _failures():
                yield session
        finally:
            session.stop()


@contextmanager
def _failures() -> Iterator[None]:
    """Log an error of Spark in full, and raise it as one sentence."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        logger.error("{}", error)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        causes = [line for line in lines if "Error: " in line or "Exception: " in line]
        reason = (causes or lines or ["no reason given"])[-1]
        raise ConfigError(
            f"a job of Spark failed: {reason}; the log above has all of it. Where memory or disk is short, see "
            "--spark_conf in docs/scale.md"
        ) from error


def _start(master: str | None, conf: Mapping[str, str], on_this_machine: bool) -> SparkSession:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("movielens-rec")
    if master is not None:
        builder = builder.master(master)
    for key, value in conf.items():
        builder = builder.config(key, value)
    if on_this_machine:
        os.environ.setdefault("SPARK_LOCAL_IP", _LOOPBACK)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    logger.info("starting Spark on {}", master or "the master of spark-submit")
    try:
        return builder.getOrCreate()
    except Exception as error:  # Py4J and the gateway raise classes of their own
        reason = str(error).strip().splitlines()[:1]
        raise ConfigError(
            f"Spark does not start on {master}: {''.join(reason)}; check --master and --spark_conf"
        ) from error


def _defaults(on_this_machine: bool) -> dict[str, str]:
    """Settings that ``--spark_conf`` overrides."""
    conf = {
        "spark.log.level": "WARN",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
    }
    if on_this_machine:
        conf |= {
            "spark.driver.bindAddress": _LOOPBACK,
            "spark.driver.host": _LOOPBACK,
            "spark.sql.shuffle.partitions": "8",
            "spark.executorEnv.PYTHONPATH": str(ROOT),  # where workers find the rooms of this project
            "spark.executorEnv.SPARK_LOCAL_IP": _LOOPBACK,
        }
    return conf
