package api_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"modelmanager.dev/internal/api"
	"modelmanager.dev/internal/storage"
)

// untouched is a body that nobody may read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, errors.New("read")
}

// TestTheLargestUpload: what says that it is larger than the operator allows, or
// than there is room for, isn't read; what turns out to be isn't kept.
func TestTheLargestUpload(t *testing.T) {
	const most = 1 << 20
	for name, test := range map[string]struct {
		objects string
		most    int64
		length  int64 // −1: it isn't said
		body    io.Reader
		status  int
		says    string
	}{
		"as large as it may be":           {"mem://", most, most, strings.NewReader(strings.Repeat("x", most)), 201, `"size":1048576`},
		"of a length that isn't said":     {"mem://", most, -1, strings.NewReader(strings.Repeat("x", most)), 201, `"size":1048576`},
		"larger, as it says":              {"mem://", most, most + 1, untouched{t}, 413, "an upload can have 1048576 bytes at most"},
		"larger, as it turns out":         {"mem://", most, -1, strings.NewReader(strings.Repeat("x", most+1)), 413, "ask whoever runs the server for a larger --max-upload"},
		"larger than any, by default":     {"mem://", 0, 1<<40 + 1, untouched{t}, 413, "an upload can have 1099511627776 bytes at most"},
		"more than the disk has room for": {"file://" + t.TempDir(), 1 << 60, 1 << 59, untouched{t}, 413, "the server's disk has room for "},
		"what the disk has room for":      {"file://" + t.TempDir(), most, 3, strings.NewReader("abc"), 201, `"size":3`},
	} {
		t.Run(name, func(t *testing.T) {
			bucket, err := storage.Open(t.Context(), test.objects)
			if err != nil {
				t.Fatal(err)
			}
			defer bucket.Close()
			handler := api.New(api.Config{Uploads: storage.NewUploads(bucket), MaxUpload: test.most, Auth: everybody(), Logger: slog.New(slog.DiscardHandler)})
			request := httptest.NewRequest(http.MethodPost, "http://localhost/v1/uploads", test.body)
			request.ContentLength = test.length
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
			if answer.Code != test.status || !strings.Contains(answer.Body.String(), test.says) {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
			objects, err := bucket.List(t.Context(), "", "", 0)
			if kept := len(objects) > 0; err != nil || kept != (test.status == 201) {
				t.Errorf("%d objects are there, %v", len(objects), err)
			}
		})
	}
}

// TestLimitsTellTheLargestUpload: the limit, and on a disk the room that is left.
func TestLimitsTellTheLargestUpload(t *testing.T) {
	w := newWorld(t)
	limits, err := w.client.Limits(t.Context())
	if err != nil || limits.UploadBytes != 1<<40 || limits.UploadRoom != nil {
		t.Errorf("%s %v", fmt.Sprintf("%+v", limits), err)
	}
}
