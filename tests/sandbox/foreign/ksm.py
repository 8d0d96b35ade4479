"""The `ksm` command, told the sandbox's keys.

The command finds the server's key by its number in a table of its SDK, and takes no other from its
configuration. So the sandbox's keys, from the environment, go into that table; then it is the command.
"""

import json
import os

from keeper_secrets_manager_cli.__main__ import main
from keeper_secrets_manager_core.keeper_globals import keeper_public_keys

keeper_public_keys.update(json.loads(os.environ["SANDBOX_SERVER_KEYS"]))
main()
