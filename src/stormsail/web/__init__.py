"""The page, the REST API and the event stream: what operators see of the engine and the clouds, and steer it with.

For whoever builds a page on the read models:

* `Sources` (`sources/sources.py`) is the process's way to the engine, the workers and the accounts. A request finds
  it as `request.app.state.sources`; everything below takes it first. Nothing else is global.
* Each noun has a module in `views/` with frozen dataclasses and the coroutine that reads them:

  ============================================  ==========================================================
  `overview.read_overview(sources)`             `OverviewView`: waiting, stuck, running, failed, degraded...
  `applications.read_applications(sources)`     `ApplicationsView`: rows of all accounts
  `applications.read_application(sources, n)`   `ApplicationView`: clusters -> server groups -> instances
  `operations.read_operations(sources, ...)`    `OperationsView`: a page of rows; `state` is one of STATES
  `operation.read_operation(sources, id)`       `OperationView`: causes, steps with attempts, steering
  `workflows.read_workflows(sources, ...)`      `WorkflowsView`: a page of a list filter, counts by status
  `workflow.read_workflow(sources, id, run)`    `WorkflowView`: description, pending work, children
  `workflow.read_history(sources, id, run)`     `HistoryView`: a page of events, either way round
  `schedules.read_schedules(sources)`           `SchedulesView`; `read_schedule` for one
  `task_queues.read_task_queues(sources)`       `TaskQueuesView`; `read_task_queue` for one
  `audit.read_audit(sources, web.trail, ...)`   `AuditView`: entries with before, after, state, page by page
  ============================================  ==========================================================

* Every view carries `sources`: one `Source(name, status, as_of_ms, age_ms, error)` each. `ok`: it answered. `stale`:
  it fails now, what is shown is its last good answer, `age_ms` old. `failed`: nothing is known, so an empty list beside
  it does not mean that there is nothing. Show a banner for each that has an `error`.
* A read of one thing returns None when the source is away and nothing of it was ever seen, and raises `NotThere` when
  the source says that there is no such thing; `Refused` carries the engine's words for a bad question (a list filter);
  `BadCursor` is for cursors that we did not give out. `application` returns None when every account says no.
* Instants are Unix milliseconds and end in `_at_ms`; durations end in `_ms`. Cursors are opaque; empty means no more.

Questions are shared: a reading younger than half a second (two for clouds) is shown again without asking, and many
viewers of one thing are one question. After a change everything is asked for again (`Sources.outdate`).

For whoever changes something:

* `web_of(request)` is the process's `Web` (`state.py`), `principal_of(request)` whoever asks; the door has let it
  through. Pass `sees=principal.sees` to the read models, and call `principal.must(Role.EXECUTE, application, account)`
  before a change of your own.
* `changes/` has a function for every change: `operations.start_operation`, `plan_operation`, `steer_operation`,
  `cancel_operation`; `workflows.signal_workflow`...; `schedules.pause_schedule`... Each takes a
  `Caller(web, principal, "page", reason=..., idempotency_key=...)`, checks rights, writes the audit first, and returns
  `Done`, whose `value` is the answer. What is turned down is a `Problem` with `detail`, `next`, `field`, `rule`.
* A change by cookie must carry `web.sessions.csrf_token(principal.session)` in the header X-CSRF-Token, on every path.
  Changes that another site's page asks for never reach a route.
* /api/v1/events tells `topic` events `{topic, version}` (and `alive` every 15 s) for the topics of `news.TOPICS` and
  for each run that was read lately: `operation:<id>`, `workflow:<workflow id>`.
* The door lets only those to pages (what is not below /api/) who may read everything: pages that pass `sees` on could
  be opened to others by listing them there. `/sign-in` and `/sign-out` are there (`api/session.py`).
* Every answer has a strict Content-Security-Policy: no inline script or style, nothing from elsewhere.
"""
