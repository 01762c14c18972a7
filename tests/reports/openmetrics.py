"""The reference parsers of the Python client read both texts, and find the same samples in them.

usage: openmetrics.py PROMETHEUS OPENMETRICS
"""
import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as strict


def samples(parse, path):
    with open(path, encoding="utf-8") as file:
        families = list(parse(file.read()))
    found = [
        (s.name, tuple(sorted((k, float(v) if k == "le" else v) for k, v in s.labels.items())), s.value)
        for family in families
        for s in family.samples
    ]
    assert len(found) == len(set(found)) > 0, path
    return families, set(found)


_, text = samples(parser.text_string_to_metric_families, sys.argv[1])
families, open_metrics = samples(strict.text_string_to_metric_families, sys.argv[2])
assert text == open_metrics, sorted(text ^ open_metrics)
assert {"bytes", "seconds"} <= {family.unit for family in families}
assert {"counter", "gauge", "histogram"} <= {family.type for family in families}
print(len(families), "families,", len(text), "samples")
