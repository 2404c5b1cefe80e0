"""The same question in Prefect: a flow run of a deployment is suspended, and its Resume button agrees."""

from __future__ import annotations

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.flow_runs import suspend_flow_run
from prefect.runtime import deployment

from flows.approval import Cost, ask_at_the_desk


def ask_in_prefect(cost: Cost) -> None:
    """Suspend until somebody resumes; return when that has happened. Without a deployment, raise NeedsApproval.

    Suspended means that the process ends and holds nothing; resumed, the flow begins anew on any worker, finds in the
    ledger what is done, and comes here again. Prefect knows a suspension by its key and lets it pass the second time;
    more tiles than were asked about are another key.
    """
    if not deployment.id:  # nobody could start it again
        ask_at_the_desk(cost)
    get_run_logger().warning(cost.text)
    create_markdown_artifact(f"{cost.text}\n\n**Resume** agrees, **Cancel** does not.", key="approval")
    suspend_flow_run(key=f"segment-{cost.tiles}-tiles")
