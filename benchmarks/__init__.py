"""Measures what docs/performance.md states: ``python -m benchmarks``, or ``make bench``.

Each module measures one promise and returns rows; none of them judges timing in a
test. Whatever is compared is measured in turn, in one run, and told as medians.
"""
