"""`collector check` looks into the files that a configuration names."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from collector.cli import main


def check(directory: Path, table: str) -> Result:
    """The command, on a configuration that names a table of scan sessions."""
    (directory / "scans.csv").write_text(table, encoding="utf-8")
    path = directory / "config.toml"
    path.write_text("[enrich]\nscan_sessions = 'scans.csv'\n", encoding="utf-8")
    return CliRunner().invoke(main, ["check", "--config", str(path)])


def test_a_good_table_of_scan_sessions_passes(tmp_path: Path) -> None:
    """With the columns that are needed, in any order."""
    result = check(tmp_path, "qr_code_id,scan_session_id\nqr-1,a\n")
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("table", ["scan_session_id,code\na,qr-1\n", ""])
def test_a_bad_table_of_scan_sessions_is_a_fault(tmp_path: Path, table: str) -> None:
    """One line with file, setting and reason, and exit code 2."""
    result = check(tmp_path, table)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{tmp_path}/config.toml: enrich.scan_sessions: ")
    assert result.stderr.count("\n") == 1
    assert "qr_code_id must be there" in result.stderr
