package web

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"modelmanager.dev"
)

// The form of the check page has each value twice: as it was shown (was.NAME),
// and as it is now. What differs was corrected. set names what had been
// corrected before: the rest is found out anew, so that one correction doesn't
// nail down what only seemed right because of the mistake.
const (
	wasPrefix = "was."
	setField  = "set"
)

// ofCells are the parameters of the dialect that say what a cell means, and
// leave alone which columns there are.
var ofCells = []string{"decimal", "dates", "timezone", "null"}

// correction is what a visitor changed in the check page's form.
type correction struct {
	request modelmanager.JobRequest // as it is to be looked at
	changed bool
}

func correctionOf(form url.Values) correction {
	values := url.Values{}
	for _, name := range append([]string{"upload", "uri", "name"}, choices...) {
		if value := form.Get(name); value != "" {
			values.Set(name, value)
		}
	}
	if form.Get("stop") == "never" {
		values.Del("max_rejected")
	}
	asked := form[setField]
	var c correction
	others := false // the file may have other columns, read like this
	for _, name := range dialect {
		now, shown := form[name]
		value := ""
		if shown {
			value = now[0]
		}
		corrected := shown && value != form.Get(wasPrefix+name)
		c.changed = c.changed || corrected
		others = others || corrected && !slices.Contains(ofCells, name)
		if corrected || slices.Contains(asked, name) {
			values.Set(name, value)
		}
	}
	for name := range form {
		if !strings.HasPrefix(name, columnParameter) {
			continue
		}
		corrected := form.Get(name) != form.Get(wasPrefix+name)
		c.changed = c.changed || corrected
		if corrected || slices.Contains(asked, name) && !others {
			values.Set(name, form.Get(name))
		}
	}
	c.changed = c.changed || form.Get("prefix") != form.Get(wasPrefix+"prefix")
	c.request = requestOf(values)
	return c
}

// batchChange looks at a file again, with what was corrected.
func (v *visit) batchChange() error {
	c := correctionOf(v.r.PostForm)
	return v.redirect(checkAddress(v.r.PathValue("model"), c.request)+"&matched=hand#verdict", "")
}

// batchRun runs what was shown, and nothing else: who changed something sees
// first what that does.
func (v *visit) batchRun() error {
	form, model := v.r.PostForm, v.r.PathValue("model")
	c := correctionOf(form)
	if c.changed {
		return v.redirect(checkAddress(model, c.request)+"&matched=hand#verdict",
			"You changed how the file is read. This is what comes of it; run it if it is right.")
	}
	job, err := v.api().SubmitJob(v.ctx(), model, shownRequest(form, c.request), form.Get("key"))
	if err != nil {
		return v.batchCheck(c.request, err)
	}
	said := lastTime{columns: map[string]string{}, cells: map[string]string{}}
	for feature, header := range c.request.Input.Columns {
		if feature != header {
			said.columns[feature] = header
		}
	}
	for _, name := range ofCells {
		if value := dialectValue(c.request.Input, name); value != "" {
			said.cells[name] = value
		}
	}
	note := ""
	if headers := form["header"]; len(headers) > 0 && !v.remember(headers, said) {
		note = "Which column is what can’t be remembered for the next file: you have matched more columns by hand than a browser’s cookie holds."
	}
	return v.redirect(pathOf("jobs", job.ID), note)
}

// shownRequest is the job that the form shows, every value of it: the file is
// read as it was looked at.
func shownRequest(form url.Values, request modelmanager.JobRequest) modelmanager.JobRequest {
	values := maps.Clone(form)
	shown := requestOf(values)
	shown.MaxRejected = request.MaxRejected
	for feature, header := range shown.Input.Columns {
		if header == "" || header == feature {
			delete(shown.Input.Columns, feature)
		}
	}
	return shown
}
