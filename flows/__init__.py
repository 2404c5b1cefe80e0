"""Flows: the only room that knows Prefect, configuration, the command line and the browser."""

import os

PREFECT_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    # ^ no telemetry from Prefect's client …
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # ^ … nor from its server
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # ^ the default of 20 s is too short on a busy machine with two cores
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    # ^ one by one, the server falls behind at 30 task runs a second and then drops history
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "200",
}
"""What tilegate ships as Prefect's settings; whatever the environment already says wins."""

for _name, _value in PREFECT_DEFAULTS.items():
    os.environ.setdefault(_name, _value)  # here, because Prefect reads them when it is first imported
