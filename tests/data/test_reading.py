"""Files as they come: packed, marked, broken, deep. Read, or refused by line in one sentence."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import pytest

from aha.cli import main
from aha.data.sources import numbered_rows, read_rows
from aha.files import read_jsonl, write_jsonl
from aha.types import AhaError

ROWS = [{"question": "q\u2028r", "answer": "1"}, {"question": "s", "answer": "2"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
ARRAY = json.dumps(ROWS, ensure_ascii=False)
CUT = gzip.compress(b"".join(b'{"n": %d}\n' % (i * 7919) for i in range(5000)))[:-300]


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES),
        ("a.jsonl", LINES.replace(b"\n", b"\r\n")),
        ("a.jsonl", LINES.decode().encode("utf-16")),
        ("a.jsonl", LINES.rstrip(b"\n")),
        ("a.jsonl", b"\n\n" + LINES.replace(b"\n", b"\n\n")),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("a.jsonl", gzip.compress(LINES, mtime=0)),  # packed, whatever its name
        ("a.jsonl.gz", LINES),
        ("a.jsonl.bz2", bz2.compress(LINES)),
        ("a.jsonl.xz", lzma.compress(LINES)),
        ("a.json", ARRAY),
        ("a.jsonl", ARRAY),
        ("a.json", b"\xef\xbb\xbf" + json.dumps(ROWS, indent=2).encode()),
        ("a.json", json.dumps({"version": 1, "data": ROWS}, indent=1)),
        ("a.json", json.dumps({"rows": [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)]}, indent=1)),
        ("a.csv", "question,answer\n\"q\u2028r\",1\ns,2\n"),
        ("a.csv", "\ufeffquestion,answer\r\n\"q\u2028r\",1\r\ns,2\r\n"),
        ("a.csv.gz", gzip.compress("question,answer\nq\u2028r,1\ns,2\n".encode(), mtime=0)),
        ("a.tsv", "question\tanswer\nq\u2028r\t1\ns\t2\n"),
        ("a.tsv", "q\u2028r\t1\ns\t2\n"),
    ],
)  # fmt: skip
def test_every_packing_gives_the_same_rows(tmp_path, name, content):
    assert read_rows(put(tmp_path, name, content)) == ROWS


def test_a_table_of_mmlu_has_no_header(tmp_path):
    path = put(tmp_path, "anatomy_test.csv", '"What, then?",one,two,three,four,C\nNow?,5,6,7,8,A\n')
    rows = read_rows(path)
    assert rows[0] == {
        "question": "What, then?",
        "A": "one",
        "B": "two",
        "C": "three",
        "D": "four",
        "answer": "C",
    }
    assert rows[1]["A"] == "5"


def test_one_object_over_many_lines_is_one_row(tmp_path):
    row = {"messages": [{"role": "user", "content": "q"}], "n": 1}
    assert read_rows(put(tmp_path, "a.json", json.dumps(row, indent=2))) == [row]


def test_rows_of_messages_are_known_by_their_places(tmp_path):
    rows = [[{"from": "human", "value": "q"}, {"from": "assistant", "ground_truth": {"value": "4"}}]]
    read = read_rows(put(tmp_path, "orz.json", json.dumps(rows)))
    assert read[0]["1"] == {"from": "assistant", "ground_truth": {"value": "4"}}


def test_numbers_without_end_are_kept_as_text(tmp_path):
    digits = "7" * 5000
    path = put(tmp_path, "a.jsonl", f'{{"question": "q", "answer": {digits}, "n": 3}}\n')
    assert read_rows(path) == [{"question": "q", "answer": digits, "n": 3}]


def test_half_a_surrogate_pair_is_replaced_where_it_is_read(tmp_path):
    path = put(
        tmp_path, "a.jsonl", '{"question": "cut \\ud83d here", "list": ["\\ude00", "\\ud83d\\ude00"]}\n'
    )
    [row] = read_rows(path)
    assert row["question"].startswith("cut \ufffd")
    assert row["question"].endswith(" here")
    assert row["list"] == ["\ufffd", "\U0001f600"]
    json.dumps(row, ensure_ascii=False).encode("utf-8")


def test_half_a_surrogate_pair_from_elsewhere_can_be_written(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "cut \ud83d here"}])
    assert read_jsonl(tmp_path / "a.jsonl") == [{"text": "cut \ufffd here"}]


@pytest.mark.parametrize(
    "job",
    [
        ["data", "dedup", "FILE", "--output", "OUT"],
        ["data", "convert", "FILE", "--to", "messages", "--output", "OUT"],
        ["grade", "FILE", "--output", "OUT"],
    ],
)
def test_no_command_loses_its_work_to_one(tmp_path, job):
    row = (
        '{"question": "cut \\ud83d here", "answer": "1", "gold": "1", "prediction": "\\\\boxed{1} \\ud83d"}\n'
    )
    names = {"FILE": put(tmp_path, "in.jsonl", row), "OUT": str(tmp_path / "out.jsonl")}
    assert main([names.get(word, word) for word in job]) == 0
    assert len(read_rows(names["OUT"])) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b"  \n\n", "is empty"),
        ("a.json", b"[]", "has no rows"),
        ("a.json", b"[1, 2]", "row 1: a JSON object was expected, found int"),
        ("a.json", b'[{"a": 1},', "not valid JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "line 2: not valid JSON"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "line 2: a JSON object was expected, found list"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1: not valid JSON (it is nested"),
        ("a.json", b"[" * 100_000 + b"]" * 100_000, "nested deeper"),
        ("a.jsonl.gz", CUT, "packing is broken or cut off"),
        ("a.jsonl.gz", CUT[:200] + bytes(90) + CUT[290:], "Cannot read"),
        ("a.jsonl.xz", lzma.compress(LINES)[:-20], "packing is broken or cut off"),
        ("a.jsonl", '{"a": "é"}\n'.encode("latin-1"), "not UTF-8 text (byte 0xe9)"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n", "Git LFS pointer"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n", "Git LFS pointer"),
        ("a.parquet", b"", "is empty"),
        ("a.parquet", LINES, "no Parquet file"),
        ("a.zip", b"PK\x03\x04rest", "a zip archive"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfdrest", "packed with zstd"),
        ("a.csv", b"question,answer\nq\n", "line 2: 1 cells, but 2 columns"),
        ("a.csv", b"question,answer\n", "no rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path, name, content, words):
    with pytest.raises(AhaError) as error:
        read_rows(put(tmp_path, name, content))
    assert words in str(error.value)
    assert name in str(error.value)


def test_lines_that_cannot_be_read_may_be_set_aside(tmp_path):
    bad = []
    path = put(tmp_path, "a.jsonl", b'{"a": 1}\n{"a": \n7\n{"a": 2}\n')
    rows = list(numbered_rows(path, bad=lambda where, why: bad.append((where, why))))
    assert rows == [("line 1", {"a": 1}), ("line 4", {"a": 2})]
    assert [where for where, _ in bad] == ["line 2", "line 3"]


def test_folders_and_missing_files(tmp_path):
    put(tmp_path, "train.jsonl", LINES)
    with pytest.raises(AhaError, match=r"is a folder: give one of its files, as train\.jsonl"):
        read_rows(str(tmp_path))
    with pytest.raises(AhaError, match="No data file"):
        read_rows(str(tmp_path / "none.jsonl"))


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow

    rows = [{"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": ["5"]}}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read_rows(str(tmp_path / "a.parquet")) == rows
    parquet.write_table(pyarrow.Table.from_pylist(rows).slice(0, 0), tmp_path / "b.parquet")
    with pytest.raises(AhaError, match="has no rows"):
        read_rows(str(tmp_path / "b.parquet"))
    (tmp_path / "c.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-40])
    with pytest.raises(AhaError, match="Cannot read"):
        read_rows(str(tmp_path / "c.parquet"))
