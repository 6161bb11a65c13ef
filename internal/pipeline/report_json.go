package pipeline

import (
	"encoding/json"
	"io"
)

// reviewFormat numbers the form of WriteJSON: it changes when a key is taken out
// or means something else, not when one is added.
const reviewFormat = 1

// WriteJSON writes the review for programs.
func (r *Review) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Format int `json:"format"`
		*Review
	}{reviewFormat, r})
}
