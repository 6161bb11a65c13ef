package web

import (
	"bytes"
	"fmt"

	"modelmanager.dev"
)

// wholeParameter asks that every row of a file be looked at, not only the first.
const wholeParameter = "whole"

// checkWhole looks at every row of a file, and tells how far it is.
func (v *visit) checkWhole(request modelmanager.JobRequest, progress func(modelmanager.JobCheck)) checked {
	return func(modelmanager.JobRequest, *checkPage) (modelmanager.JobCheck, error) {
		return v.api().CheckWholeJob(v.ctx(), v.r.PathValue("model"), request, progress)
	}
}

// streamCheck looks at every row of a file while the visitor watches, by
// server-sent events: "progress" says how far it is, "page" is what the page
// shows then.
func (v *visit) streamCheck(request modelmanager.JobRequest) error {
	v.beginEvents()
	page, _, err := v.checkPage(request, v.checkWhole(request, func(check modelmanager.JobCheck) {
		_ = v.event("progress", string(encoded(map[string]any{
			"percent": int(check.Read * 100),
			"says":    fmt.Sprintf("%s checked, %s %s fit", plural(check.Rows, "row"), count(check.Rejected), doNot(check.Rejected)),
		})))
	}))
	if err != nil {
		return v.event("refused", sentence(err.Error()))
	}
	var html bytes.Buffer
	if err := v.web.execute(&html, "batch-check", "main", v.frame("", "", page)); err != nil {
		v.web.Logger.ErrorContext(v.ctx(), "the page of a check failed", "error", err)
		return v.event("refused", "Model Manager failed; the server’s log says why.")
	}
	return v.event("page", html.String())
}
