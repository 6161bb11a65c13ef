// Package serve answers real-time requests beside a worker: it checks rows,
// gathers waiting requests into the worker's next call, checks predictions,
// and writes the answer that a client of the API gets.
package serve
