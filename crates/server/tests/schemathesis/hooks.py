"""What schemathesis is to leave alone."""

import schemathesis

# A refusal in the daemon's own words, which happens to have a status of 5xx: this host, or this backend, cannot do
# what was asked for. Any other 5xx is a fault.
HONEST = {"unavailable", "not_supported", "control_refused"}


schemathesis.serializer.alias("application/x-tar", "application/octet-stream")


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if type(failure).__name__ != "ServerError":
        return True
    try:
        return response.json()["error"]["kind"] not in HONEST
    except (ValueError, KeyError, TypeError):
        return True


@schemathesis.hook
def before_call(context, case, kwargs):
    """Following a log ends with its sandbox, and not before."""
    if isinstance(case.query, dict) and str(case.query.get("follow")).lower() == "true" and "logs" in case.path:
        case.query["follow"] = "false"
