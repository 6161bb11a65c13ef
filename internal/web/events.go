package web

import (
	"net/http"
	"strings"
)

// beginEvents begins an answer of server-sent events.
func (v *visit) beginEvents() {
	header := v.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // of a proxy, which would keep the events for itself
}

// event sends one, its data line by line. An error says that nobody is there
// any more.
func (v *visit) event(name, data string) error {
	var b strings.Builder
	b.WriteString("event: " + name + "\n")
	for line := range strings.Lines(data) {
		b.WriteString("data: " + strings.TrimRight(line, "\r\n") + "\n")
	}
	b.WriteString("\n")
	if _, err := v.w.Write([]byte(b.String())); err != nil {
		return err
	}
	return http.NewResponseController(v.w).Flush()
}
