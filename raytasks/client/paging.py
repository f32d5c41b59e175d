"""The queries for the pages of a list, one after the other."""

from typing import cast

from raytasks.client.documents import (
    LogPageDocument,
    LogQuery,
    PageDocument,
    PageQuery,
    TaskFilters,
)
from raytasks.model.bounds import MAX_LISTED


def next_log_page(query: LogQuery, page: LogPageDocument) -> LogQuery | None:
    """Return the query for the page of the log after this one; None if this is the last."""
    return {**query, "after": page["next"]} if page["more"] else None


def first_page(filters: TaskFilters) -> PageQuery:
    """Return the query for the first page of all that the filters match."""
    return cast("PageQuery", {**filters, "limit": MAX_LISTED})


def next_page(query: PageQuery, page: PageDocument) -> PageQuery | None:
    """Return the query for the page after this one; None if this is the last."""
    cursor = page["next_cursor"]
    if cursor is None:
        return None
    following: PageQuery = {**query, "cursor": cursor}
    following.pop("offset", None)
    return following
