"""Writing what people say of anomalies, into the store that is read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import orjson

from connectors.sqlite_reviews import Review, add_review
from tapewatch.errors import UserError
from tapewatch.settings import Settings
from tapewatch.settings_elasticsearch import ElasticsearchSettings

#: Seconds for which a server that is away is waited for: somebody looks at a button.
_PATIENCE_SECONDS = 10.0


def write_review(settings: Settings, review: Review) -> bool:
    """Write a review where `connectors.store.open_results` reads; the same one again changes nothing.

    Returns
    -------
    bool
        Whether there is an anomaly of that id, without which nothing is written; True for a transaction.

    Raises
    ------
    UserError
        If the store cannot be written.
    """
    if settings.sinks.store == "sqlite":
        return add_review(Path(settings.sinks.sqlite.path), review)
    return _add_to_elasticsearch(settings.sinks.elasticsearch, review)


def _add_to_elasticsearch(settings: ElasticsearchSettings, review: Review) -> bool:
    import elasticsearch

    from connectors.elasticsearch_client import connect, explain
    from connectors.elasticsearch_documents import document_operations
    from connectors.elasticsearch_schema import ensure
    from connectors.store_elasticsearch import ElasticsearchStore

    with ElasticsearchStore(settings) as store:
        if review.anomaly_id is not None and not store.anomalies(ids=[review.anomaly_id], limit=1):
            return False
    (operation,) = document_operations("reviews", [asdict(review)], settings.index_prefix, review.reviewed_at)
    client = connect(settings, _PATIENCE_SECONDS)
    try:
        ensure(client, settings)
        client.index(
            index=operation.target, id=operation.id, document=orjson.loads(operation.body), refresh="wait_for"
        )
    except (elasticsearch.ApiError, elasticsearch.TransportError) as error:
        raise UserError(explain(error, settings)) from error
    finally:
        client.close()
    return True
