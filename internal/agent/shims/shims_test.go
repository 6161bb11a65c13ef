package shims

import (
	"bytes"
	"os"
	"testing"
)

// TestExamplesHaveTheWorkerLibrariesAsTheyAre: a model brings its own copy, so
// that it needs nothing else; the examples' copies must not fall behind.
func TestExamplesHaveTheWorkerLibrariesAsTheyAre(t *testing.T) {
	for path, want := range map[string][]byte{
		"../../../examples/models/iris-species-java/src/ModelWorker.java": Java(),
		"../../../examples/models/iris-species-go/worker.go":              Go(),
	} {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is not the worker library as it is now; copy it anew", path)
		}
	}
}
