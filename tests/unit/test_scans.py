"""The table of scan sessions: CSV or Parquet, made by somebody else."""

import duckdb
import pytest

from storage import ScansError, read_scans, scans

ONE = "7AD26D4F-3181-4ef8-b6ca-b8f59499dd43"


def csv(tmp_path, text: str):
    """A file with `text`."""
    path = tmp_path / "scans.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        f"scan_session_id,qr_code_id\n{ONE},qr-1\n",
        f"qr_code_id;Scan_Session_ID\nqr-1;{ONE}\n",
        f'other,SCAN_SESSION_ID,qr_code_id\r\n1," {ONE} ","qr-1"\r\n',
        f"\ufeffscan_session_id\tqr_code_id\n{ONE}\tqr-1",
    ],
)
def test_csv_of_any_dialect(tmp_path, text):
    """Separators, line ends, quotes, order and case are whatever the tool that wrote it likes."""
    assert read_scans(csv(tmp_path, text)) == {ONE.lower(): "qr-1"}


def test_ids_are_text(tmp_path):
    """A code of digits keeps its leading zeros; one that looks like a date stays as it is."""
    text = "scan_session_id,qr_code_id\na,007\nb,2026-01-01\nc,1e5\nd,true\n"
    assert read_scans(csv(tmp_path, text)) == {
        "a": "007",
        "b": "2026-01-01",
        "c": "1e5",
        "d": "true",
    }


def test_parquet_is_known_by_its_first_bytes(tmp_path):
    """Whatever the file is called; UUIDs and numbers become text."""
    path = tmp_path / "scans.csv"
    duckdb.sql(f"SELECT UUID '{ONE}' AS scan_session_id, 7 AS qr_code_id").write_parquet(str(path))
    assert read_scans(path) == {ONE.lower(): "7"}


def test_rows_without_an_id_are_skipped_and_the_last_one_counts(tmp_path):
    """As in a table that was appended to."""
    text = "scan_session_id,qr_code_id\na,1\n,2\nb,\nA,3\n"
    assert read_scans(csv(tmp_path, text)) == {"a": "3"}


def test_a_path_is_not_a_pattern(tmp_path):
    """Brackets and quotes in a name mean themselves."""
    folder = tmp_path / "it's [a]*"
    folder.mkdir()
    assert read_scans(csv(folder, "scan_session_id,qr_code_id\na,1\n")) == {"a": "1"}


def test_missing_columns_are_named(tmp_path):
    """With those that are there, so that the mistake shows."""
    with pytest.raises(
        ScansError, match=r"the column qr_code_id must be there; .* are code, scan_"
    ):
        read_scans(csv(tmp_path, "scan_session_id,code\na,1\n"))
    with pytest.raises(ScansError, match="column scan_session_id and the column qr_code_id must"):
        read_scans(csv(tmp_path, "a,b\n1,2\n"))


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing else", b"\xff\xfe\x00", b"PAR1"])
def test_what_is_no_table_is_told_in_a_line(tmp_path, content):
    """Not in DuckDB's page of hints."""
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ScansError) as caught:
        read_scans(path)
    assert "\n" not in str(caught.value)


def test_too_many_sessions_are_refused(tmp_path, monkeypatch):
    """Memory is bounded; the table that was read before stays."""
    monkeypatch.setattr(scans, "SESSIONS_MAX", 2)
    text = "scan_session_id,qr_code_id\na,1\nb,1\n"
    assert len(read_scans(csv(tmp_path, text))) == 2
    with pytest.raises(ScansError, match="more than 2 sessions"):
        read_scans(csv(tmp_path, text + "c,1\n"))


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    """For whoever watches it."""
    with pytest.raises(FileNotFoundError):
        read_scans(tmp_path / "none")
