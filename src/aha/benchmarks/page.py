"""Results as one HTML page: the table, and every sample with why it was graded so, folded. Needs no network."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any, TextIO

from aha.benchmarks import tables
from aha.benchmarks.session import BenchmarkResult

SHOWN = 200
"""Problems whose samples are on the page, of each result; the file beside it has all."""
_STYLE = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto}th,td{padding:.3rem .7rem;border-bottom:1px solid #8884;
text-align:left;white-space:nowrap}
details{margin:.3rem 0}summary{cursor:pointer}pre{white-space:pre-wrap;background:#8881;
padding:.6rem;border-radius:.4rem;overflow-wrap:anywhere}.right::before{content:"\\2713 ";color:#2a8}.wrong::before{
content:"\\2717 ";color:#c43}.unknown::before{content:"? ";color:#a80}
"""


def write(out: TextIO, results: Sequence[BenchmarkResult], said: Sequence[str]) -> None:
    """The page of these results; ``said``: sentences below the table."""
    out.write(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    )
    out.write(f"<title>Evaluation</title><style>{_STYLE}</style><h1>Evaluation</h1>")
    _table(out, tables.rows(results))
    out.write("".join(f"<p>{html.escape(line)}</p>" for line in said))
    for result in results:
        _samples(out, result)
    out.write("</html>\n")


def _table(out: TextIO, table: Sequence[dict[str, str]]) -> None:
    columns = list(dict.fromkeys(column for row in table for column in row))
    out.write("<table><tr>" + "".join(f"<th>{html.escape(c)}" for c in columns))
    for row in table:
        out.write("<tr>" + "".join(f"<td>{html.escape(row.get(c, '-'))}" for c in columns))
    out.write("</table>")


def _samples(out: TextIO, result: BenchmarkResult) -> None:
    out.write(f"<h2>{html.escape(result.model)} on {html.escape(result.benchmark)}</h2>")
    if by_turn := tables.turns(result.figures):
        _table(out, by_turn)
    with result.file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number == SHOWN:
                out.write(f"<p>The other problems are in {html.escape(str(result.file))}.</p>")
                break
            _problem(out, json.loads(line))


def _problem(out: TextIO, row: dict[str, Any]) -> None:
    right = sum(sample["right"] is True for sample in row["samples"])
    title = f"{row['problem']}: {right} of {len(row['samples'])} right"
    out.write(
        f"<details><summary>{html.escape(title)}</summary><pre>{html.escape(str(row['question']))}</pre>"
    )
    if row["answer"] is not None:
        out.write(f"<p>Reference answer: <code>{html.escape(row['answer'])}</code></p>")
    for sample in row["samples"]:
        kind = {True: "right", False: "wrong", None: "unknown"}[sample["right"]]
        why = f"{kind}, {sample['tokens']} tokens, {sample['finish']}. {sample['why']}"
        out.write(f"<details><summary class={kind}>{html.escape(why)}</summary>")
        out.write(f"<pre>{html.escape(sample['text'])}</pre></details>")
    out.write("</details>")
