// Package agent is the small program beside each worker. It starts the worker,
// speaks its protocol (docs/worker-protocol.md), validates rows and answers, and serves
// real-time requests or runs the shards of a job: the same code in a pod and
// as a plain child process.
package agent
