"""A plugin of pytest: what became of each test, as JSON in the file that SUITE_REPORT names.

Loaded by ykman_suite.rs. A test is `passed` only if nothing about it failed or was skipped.
"""

import json
import os

_tests = {}


def pytest_collectreport(report):
    if report.failed:
        _tests[report.nodeid] = {"outcome": "failed", "reason": str(report.longrepr)}


def pytest_runtest_logreport(report):
    test = _tests.setdefault(report.nodeid, {"outcome": "passed", "reason": ""})
    if report.failed:
        test.update(outcome="failed", reason=report.longreprtext)
    elif report.skipped and test["outcome"] == "passed":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        test.update(outcome="skipped", reason=reason.removeprefix("Skipped: "))


def pytest_sessionfinish(session):
    with open(os.environ["SUITE_REPORT"], "w") as file:
        json.dump(_tests, file)
