package local

import (
	"os"
	"path/filepath"
	"testing"

	"modelmanager.dev/internal/platform/platformtest"
)

func TestHousekeeping(t *testing.T) {
	o := options(t, t.TempDir())
	o.Unused = 1 // nanosecond
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := platformtest.NewWorkload(t, "kept", platformtest.Behaviour{}, testArtifact(t))
	count := func() int {
		entries, err := os.ReadDir(filepath.Join(o.Dir, "artifacts"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if err := d.Scale(t.Context(), w, 1); err != nil {
		t.Fatal(err)
	}
	agents := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.live)
	}
	until(t, "an agent runs", func() bool { return agents() == 1 })
	if err := d.keepHouse(); err != nil || count() != 1 {
		t.Errorf("while it is used, %d artifacts stay (%v), want 1", count(), err)
	}
	if err := d.Scale(t.Context(), w, 0); err != nil {
		t.Fatal(err)
	}
	until(t, "no agent runs", func() bool { return agents() == 0 })
	if err := d.keepHouse(); err != nil || count() != 0 {
		t.Errorf("when nothing uses it, %d artifacts stay (%v), want none", count(), err)
	}
	if err := d.Scale(t.Context(), w, 1); err != nil {
		t.Fatal(err)
	}
	until(t, "it comes again", func() bool { return count() == 1 })
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
