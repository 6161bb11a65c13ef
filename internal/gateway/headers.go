package gateway

import (
	"net/http"
	"net/textproto"
	"strconv"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/gateway/upstream"
)

// Values that nearly every answer has are shared, not copied; nothing changes
// them, and appending to them copies them.
var (
	typeJSON    = []string{"application/json"}[:1:1]
	typeProblem = []string{"application/problem+json"}[:1:1]
	typeCSV     = []string{"text/csv; charset=utf-8"}[:1:1]
)

// count returns where the count goes that a field of an agent's answer tells;
// nil for a field that is the caller's.
func (c *call) count(field upstream.Field) *int {
	switch string(field.Name) {
	case agent.HeaderPredicted:
		return &c.predicted
	case agent.HeaderInvalid:
		return &c.invalid
	}
	return nil
}

// countOf reads a count; what is none counts nothing.
func countOf(value []byte) int {
	n, err := strconv.Atoi(string(value))
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// copyField copies one field of an agent's answer, but for what the server
// and the gateway say themselves.
func copyField(header http.Header, field upstream.Field) {
	switch string(field.Name) {
	case "Content-Type":
		header["Content-Type"] = contentType(field.Value)
		return
	case "Date", "Model-Version", "Server":
		return
	}
	name := textproto.CanonicalMIMEHeaderKey(string(field.Name))
	switch name {
	case "Content-Type":
		header[name] = contentType(field.Value)
	case "Date", "Model-Version", "Server":
	default:
		header[name] = append(header[name], string(field.Value))
	}
}

func contentType(value []byte) []string {
	switch string(value) {
	case "application/json":
		return typeJSON
	case "application/problem+json":
		return typeProblem
	case "text/csv; charset=utf-8":
		return typeCSV
	}
	return []string{string(value)}
}
