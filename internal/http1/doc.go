// Package http1 serves small HTTP/1.1 requests at a fraction of what net/http
// spends on one: a prediction's own work is microseconds, and net/http's server
// would be the larger part of its cost.
//
// A Server reads a request's head and takes the request if it is one of those
// that it was made for, and plain: HTTP/1.1 with a Content-Length, and nothing
// about it that two readers could understand differently. It then calls an
// ordinary http.Handler. With the first request that is anything else, the whole
// connection goes to net/http's server, unread bytes included, and stays there. So
// nothing is refused here, and what a handler sees is what net/http would show it.
package http1
