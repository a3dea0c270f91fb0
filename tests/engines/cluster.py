"""A Ray cluster of two nodes on this machine, on the loopback, in a process of its own.

It says where it is in a line of JSON, removes its second node when it reads a line, and ends with
its standard input. The second node has a core and says that it has a GPU.
"""

import json
import logging
import os
import sys
from typing import Any

# Before ray is imported: listen on the loopback alone.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}

from ray.cluster_utils import Cluster

logging.getLogger("ray").setLevel(logging.CRITICAL)
# Less of what we do not use, and a node that is gone is known to be so at once.
QUIET: dict[str, Any] = {
    "include_log_monitor": False,
    "include_dashboard": False,
    "object_store_memory": 80 << 20,
}
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 3,
}

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
folder = sys.argv[1]
head = {"temp_dir": folder, "no_monitor": True, "_system_config": HEALTH}
cluster = Cluster(initialize_head=True, head_node_args={**QUIET, **head, "num_cpus": 1})
other = cluster.add_node(**QUIET, num_cpus=1, num_gpus=1)
(raylet,) = other.all_processes["raylet"]
answers.write(json.dumps({"address": cluster.address, "second": raylet.process.pid}) + "\n")
answers.flush()
for _ in sys.stdin:
    cluster.remove_node(other, allow_graceful=False)
    answers.write("removed\n")
    answers.flush()
cluster.shutdown()
