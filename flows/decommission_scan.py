"""Decommission, scan: finds where a team's own files still name MLflow.

It is not a Prefect flow, because it reads the caller's files.
"""

from flows.answers.scan import ScanResult, to_scan_result
from flows.leaving_parameters import DecommissionScanParameters
from tasks.scan import scan_files


def decommission_scan(wanted: DecommissionScanParameters) -> ScanResult:
    """Finds everything in a folder that names MLflow. Edits nothing; a second call looks again."""
    found = scan_files(wanted.path)
    return to_scan_result(found.where, found.files, found.mentions, found.prose, found.left_out)
