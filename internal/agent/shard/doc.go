// Package shard is the agent in batch mode: it makes a job's plan, or runs one
// of its shards. It knows the server by HTTP alone: with the token of its one
// job it asks for an assignment, which holds short-lived URLs, streams rows
// from one of them through the worker to others, and commits. Whatever kills
// it, the next attempt begins anew and only one attempt's commit counts.
package shard
