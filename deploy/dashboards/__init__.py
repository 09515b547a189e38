"""Grafana's dashboards as a typed program: ``python -m deploy.dashboards`` writes ``deploy/grafana/dashboards``.

A dashboard is one file here, a tuple of panels; a panel is a title, a unit and its queries by legend. Nobody edits the
JSON: a test keeps it the same as what this program writes.
"""
