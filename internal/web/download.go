package web

import (
	"io"
	"mime"
	"net/http"
)

// disposition names a file that is to be saved.
func disposition(name string) string {
	if text := mime.FormatMediaType("attachment", map[string]string{"filename": name}); text != "" {
		return text
	}
	return "attachment"
}

// stream sends what the API streams. An error on the way can only break the
// connection: the browser then knows that the file isn't whole.
func (v *visit) stream(body io.ReadCloser) error {
	defer body.Close()
	if _, err := io.Copy(v.w, body); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}
