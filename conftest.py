"""Root of the test run: the audits' plugin brings the options and fixtures that audits and tests share."""

pytest_plugins = ["audits.plugin"]
