package fault

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/batch"
)

// checkManifest compares a finished job's manifest with what the API says, and
// with the files that it names.
func (s *server) checkManifest(t *testing.T, job modelmanager.Job) {
	t.Helper()
	folder := filepath.Join(s.data, "objects", "jobs", job.ID)
	text, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest batch.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.State != job.State || manifest.Rows.Read != job.Rows.Read || manifest.Rows.Predicted+manifest.Rows.Rejected != manifest.Rows.Read {
		t.Errorf("the manifest says %s, %+v; the API %s, %+v", manifest.State, manifest.Rows, job.State, job.Rows)
	}
	if manifest.Digest == "" || manifest.Artifact == "" || manifest.InputSHA256 == "" || len(manifest.Incomplete) > 0 {
		t.Errorf("the manifest lacks something: %s", text)
	}
	if len(manifest.Parts) != job.Shards.Total {
		t.Errorf("the manifest names %d parts of %d shards", len(manifest.Parts), job.Shards.Total)
	}
	for _, part := range manifest.Parts {
		info, err := os.Stat(filepath.Join(s.data, "objects", filepath.FromSlash(part.Key)))
		if err != nil || info.Size() != part.Size {
			t.Errorf("part %s has not %d bytes: %v", part.Key, part.Size, err)
		}
	}
}
