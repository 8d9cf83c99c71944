"""Tables, item-to-item channels and ALS on Apache Spark, for data that one machine cannot hold.

The artefacts are those of the local engine, and its classes load and serve them. Spark distributes the work; the rules
and formulas are the local engine's own functions, which run on the parts of the data.

The data root must lie on storage that the driver and all executors see under one path.
"""
