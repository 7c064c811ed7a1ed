"""Makes what limits submissions to Vertex AI on the Prefect server that PREFECT_API_URL names (tasks/turns.py).

``python -m deployments.limits``: `make up` and `make deploy` call it. A second call changes nothing.
"""

from switchyard.clients.prefect.analytics import switch_off_analytics


def main() -> None:
    """Makes the limit, and says what it is."""
    switch_off_analytics()  # before Prefect is imported
    from prefect.client.orchestration import get_client

    from tasks.turns import AT_ONCE, LIMIT, PER_S, make_limit

    with get_client(sync_client=True) as client:
        make_limit(client)
    print(f"limit {LIMIT}: {AT_ONCE} at once, {PER_S * 60:.0f} more a minute")  # noqa: T201  # a command line prints


if __name__ == "__main__":
    main()
