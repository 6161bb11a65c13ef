// Package web is the page at /: what people use who don't program. It is HTML
// made on the server from embedded templates, and works without JavaScript;
// htmx makes it livelier.
//
// The page knows nothing that the REST API doesn't: it calls the API in
// process, with the visitor's own token, so that rights, checks and messages
// exist once. What the API refuses, the page shows in the API's words.
//
// A request becomes a visit (visit.go), which a handler answers with a page, a
// part of one (for htmx), or a redirect. Handlers are mounted by get, post and
// upload (web.go), which check what every request of their kind needs: a POST
// its token (csrf.go), an upload that its first part is one. Who the visitor is
// lies in a sealed cookie (session.go), which opens pages alone: the API
// takes no cookie.
package web
