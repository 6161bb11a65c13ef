package storage_test

import (
	"io"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/storage"
)

// TestUploadsAreBounded: a server takes in so many files at a time, refuses the
// next one with a word of when to come back, and takes it once one has ended.
func TestUploadsAreBounded(t *testing.T) {
	bucket, err := storage.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	uploads := storage.NewUploads(bucket)
	var bodies []*io.PipeWriter
	ended := make(chan error)
	for {
		reader, writer := io.Pipe()
		go func() {
			_, err := uploads.Put(t.Context(), reader, 0)
			reader.CloseWithError(err)
			ended <- err
		}()
		if _, err := writer.Write([]byte("the first bytes")); err != nil {
			if modelmanager.CodeOf(err) != modelmanager.CodeTooManyRequests {
				t.Errorf("the one too many: %v", err)
			}
			<-ended
			break
		}
		bodies = append(bodies, writer)
	}
	if len(bodies) < 2 {
		t.Fatalf("%d files were taken in", len(bodies))
	}
	_ = bodies[0].Close()
	if err := <-ended; err != nil {
		t.Errorf("the first file: %v", err)
	}
	if _, err := uploads.Put(t.Context(), strings.NewReader("another"), 0); err != nil {
		t.Errorf("when one has ended: %v", err)
	}
	for _, body := range bodies[1:] {
		_ = body.Close()
		if err := <-ended; err != nil {
			t.Errorf("the others: %v", err)
		}
	}
}
