package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"modelmanager.dev"
)

// keepAlive is how often a quiet event stream says that it is still there.
const keepAlive = 15 * time.Second

// jobEvents sends a job each time it changes. Each event's id is the job's
// state: a browser that comes back after the last one, as browsers do, is told
// with 204 that there is no more.
func (a *API) jobEvents(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("job")
	job, err := a.Jobs.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if job.State.Final() && r.Header.Get("Last-Event-ID") == string(job.State) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		return nil
	}
	events, err := a.Jobs.Events(r.Context(), id)
	if err != nil {
		return err
	}
	a.sendEvents(w, r, events)
	return nil
}

// sendEvents ends with the job, with its reader, or when the server shuts down.
func (a *API) sendEvents(w http.ResponseWriter, r *http.Request, events <-chan modelmanager.Job) {
	control := http.NewResponseController(w)
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for {
		select {
		case job, open := <-events:
			if !open || writeEvent(w, job) != nil {
				return
			}
		case <-ticker.C:
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-a.draining:
			return
		}
		if control.Flush() != nil {
			return
		}
	}
}

func writeEvent(w http.ResponseWriter, job modelmanager.Job) error {
	data, err := json.Marshal(job)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "event: job\nid: %s\ndata: %s\n\n", job.State, data)
	return err
}
