"""How the emulated MLflow server says no."""


class Refused(Exception):
    """An error of MLflow's: its HTTP status, code and words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_code": code, "message": message}
