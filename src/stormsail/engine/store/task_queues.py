"""Configurations of task queues, as UpdateTaskQueueConfig made them: a few rows, all of them held in memory."""

import asyncio
from collections.abc import Callable
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueueConfig

from stormsail.engine.core.errors import ResourceExhausted
from stormsail.engine.store.checksum import sealed
from stormsail.engine.store.database import Database, Member, Statement

SELECT: Final = "SELECT namespace, name, type, config, crc FROM task_queue_config"
PUT: Final = Statement(
    rank=75,
    head="INSERT INTO task_queue_config (namespace, name, type, config, crc) VALUES ",
    row="(?, ?, ?, ?, ?)",
    tail=" ON CONFLICT (namespace, name, type) DO UPDATE SET config = excluded.config, crc = excluded.crc",
)

DELETE: Final = Statement(rank=76, head="DELETE FROM task_queue_config WHERE namespace IN (", row="?", tail=")")

ConfigName = tuple[str, str, TaskQueueType.ValueType]
"""Namespace, task queue and its type."""
Change = Callable[[TaskQueueConfig], TaskQueueConfig]


class TaskQueueConfigs:
    """The configurations of one database."""

    def __init__(self, database: Database, *, configs_max: int) -> None:
        self._database = database
        self._max = configs_max
        self._turn = asyncio.Lock()
        self.changed: Callable[[ConfigName], None] = lambda _: None
        """Told of each change, once it is on disk."""
        self._configs: dict[ConfigName, TaskQueueConfig] = {}
        reader = database.reader
        for row in reader.read(SELECT):
            namespace, name, kind, config = reader.checked(row)
            self._configs[namespace, name, kind] = reader.message(TaskQueueConfig, config)

    def get(self, name: ConfigName) -> TaskQueueConfig | None:
        """Return a configuration, not to be changed; None where nobody made one."""
        return self._configs.get(name)

    async def change(self, name: ConfigName, change: Change) -> TaskQueueConfig:
        """Replace a configuration by what `change` makes of it; it may refuse. Returns once that is on disk.

        One at a time, so that none undoes another. A caller that goes away does not stop what it began.
        """
        changing = asyncio.get_running_loop().create_task(self._change(name, change))
        changing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(changing)

    async def forget(self, namespace: str) -> None:
        """Drop the configurations of a namespace that is gone. Returns once that is on disk."""
        async with self._turn:
            names = [name for name in self._configs if name[0] == namespace]
            if names:
                touches = frozenset(("task_queue_config", name) for name in names)
                await self._database.commit(Member([(DELETE, (namespace,))], touches))
            for name in names:
                del self._configs[name]

    async def _change(self, name: ConfigName, change: Change) -> TaskQueueConfig:
        async with self._turn:
            old = self._configs.get(name, TaskQueueConfig())
            new = change(old)
            if new == old:
                return old
            if name not in self._configs and len(self._configs) >= self._max:
                raise ResourceExhausted(
                    f"{self._max} task queues have a configuration, which is the limit: {name[1]} cannot get one."
                )
            row = sealed(*name, new.SerializeToString(deterministic=True))
            await self._database.commit(Member([(PUT, row)], frozenset([("task_queue_config", name)])))
            self._configs[name] = new
            self.changed(name)
            return new
