"""The findings of a run for people: as lines, as a table, and as a page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import pandas as pd
from sqlalchemy import Engine

from screener_data.errors import UsageError
from screener_data.quality.declared import Finding
from screener_data.quality.runs import trend

__all__ = ["frame", "lines", "page", "verdict", "write_page"]

_ORDER = {"error": 0, "warning": 1, "info": 2}


def verdict(findings: Sequence[Finding]) -> str:
    """How many checks there were, how many found something, and how many of those are errors."""
    found = [finding for finding in findings if finding.count]
    failed = sum(finding.failed for finding in findings)
    return f"{len(findings)} checks, {len(found)} with findings, {failed} of them errors"


def lines(findings: Sequence[Finding]) -> list[str]:
    """What was found, the worst first: severity, check, count and its change, examples, what to do."""
    return [
        line
        for each in _worst_first(findings)
        for line in (
            f"{each.severity}: {each.name}: {each.count}{_since(each)} {each.detail}",
            *(f"    {example}" for example in each.examples),
            f"    → {each.todo}",
        )
    ]


def _since(finding: Finding) -> str:
    """How the count differs from the last run's, where there was one."""
    if finding.before is None:
        return ""
    return f" ({finding.before} last time, {finding.change:+})" if finding.change else " (as last time)"


def _worst_first(findings: Sequence[Finding]) -> list[Finding]:
    return sorted((each for each in findings if each.count), key=lambda each: (_ORDER[each.severity], -each.count))


def frame(findings: Sequence[Finding]) -> pd.DataFrame:
    """The findings as a table: check, severity, count, before, what is counted, examples, what to do."""
    names = ["name", "severity", "count", "before", "detail", "examples", "todo"]
    rows = [asdict(finding) | {"examples": "; ".join(finding.examples)} for finding in findings]
    return pd.DataFrame(rows, columns=names).set_index("name").astype({"before": "Int64"})


def write_page(findings: Sequence[Finding], file: str | Path, *, engine: Engine | None = None) -> Path:
    """Write `page` of the findings and of the last runs; its path. Raises UsageError where that cannot be."""
    path = Path(file)
    text = page(findings, trend(engine=engine))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the page cannot be written to {file}: {error.strerror}") from None
    return path


def page(findings: Sequence[Finding], trend: pd.DataFrame) -> str:
    """One HTML page of a run: what was found, the worst first, and the counts of the last runs as small lines."""
    return _PAGE.format(
        verdict=verdict(findings),
        when=f"{trend.index[-1]:%Y-%m-%d %H:%M} UTC" if len(trend) else "No run is remembered",
        rows="\n".join(_row(each, trend) for each in _worst_first(findings)),
        well="\n".join(
            f"<li><code>{escape(each.name)}</code> {escape(each.detail)}{_since(each) if each.change else ''}</li>"
            for each in findings
            if not each.count
        ),
    )


def _row(finding: Finding, trend: pd.DataFrame) -> str:
    examples = "".join(f"<li>{escape(example)}</li>" for example in finding.examples)
    counts = trend[finding.name].dropna().tolist() if finding.name in trend else []
    change = "" if finding.change is None else f"{finding.change:+,}" if finding.change else "="
    return (
        f'<tr class="{finding.severity}"><td>{finding.severity}</td><td><code>{escape(finding.name)}</code></td>'
        f"<td>{finding.count:,}</td><td>{change}</td><td>{_line(counts)}</td><td>{escape(finding.detail)}"
        f"<ul>{examples}</ul><b>→</b> {escape(finding.todo)}</td></tr>"
    )


def _line(counts: list[float], width: int = 120, height: int = 24) -> str:
    """The counts as a line, left the oldest; 0 is the bottom."""
    if len(counts) < 2:
        return ""
    most = max(*counts, 1)
    points = " ".join(
        f"{2 + (width - 4) * place / (len(counts) - 1):.1f},{height - 2 - (height - 4) * count / most:.1f}"
        for place, count in enumerate(counts)
    )
    told = ", ".join(f"{count:,.0f}" for count in counts)
    return (
        f'<svg width="{width}" height="{height}" role="img"><title>{told}</title>'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>screener_data: checks</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2em; color: #222 }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .5em .8em; border-top: 1px solid #ddd }}
td:nth-child(3), td:nth-child(4) {{ text-align: right; font-variant-numeric: tabular-nums }}
ul {{ margin: .3em 0; padding-left: 1.2em }}
.error td:first-child {{ color: #b3261e; font-weight: bold }}
.warning td:first-child {{ color: #8a5a00; font-weight: bold }}
</style></head><body>
<h1>Can what is stored be trusted?</h1>
<p>{verdict}. {when}</p>
<table><thead><tr><th>Severity</th><th>Check</th><th>Count</th><th>Change</th><th>Last runs</th>
<th>What, and what to do</th></tr></thead><tbody>
{rows}
</tbody></table>
<details><summary>Checks that found nothing</summary><ul>
{well}
</ul></details>
</body></html>
"""
