// Package batch runs jobs (docs/jobs.md): it accepts, plans, follows, collects
// and expires them. All state is in the job's folder in object storage:
//
//	jobs/<id>/request.json               what was asked, with the version pinned
//	jobs/<id>/plan.json                  the shards, and the input's ETag
//	jobs/<id>/parts/00000-<attempt>.csv  per attempt; rejected/ and logs/ alike
//	jobs/<id>/shards/00000.json          the winning attempt, written once
//	jobs/<id>/faults/shards-00000.json   why a shard's last attempt gave up
//	jobs/<id>/input/00000-<attempt>      a compressed input, split; kept for a retry
//	jobs/<id>/rows/00000.jsonl           which rows of its slice a retry's shard wants
//	jobs/<id>/search/00000.json          how far the search for guilty rows has come
//	jobs/<id>/progress/<server>.json     what attempts have told one of several servers
//	jobs/<id>/used.json                  how much of batch.timeout is gone
//	jobs/<id>/cancel.json                somebody cancelled it
//	jobs/<id>/manifest.json              the end, written once
//	active/<id>.<model>                  for each job without a manifest
//	history/<id>.<model>.<state>         for each job with one
//	tidy/<id>                            until what came too late is removed
//	idempotency/<hash>.json              which job an Idempotency-Key made
//
// so any server can take over from any other at any time. The loop Run, in one
// server at a time, drives jobs; agents reach Handler, in any server.
package batch
