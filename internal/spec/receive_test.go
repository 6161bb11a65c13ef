package spec

import (
	"path/filepath"
	"testing"

	"modelmanager.dev"
)

func TestReceiveTakesWhatCanonicalWrote(t *testing.T) {
	examples, err := filepath.Glob("../../examples/models/*/model.yaml")
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range examples {
		folder, err := LoadFolder(filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		text, err := folder.Spec.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		received, err := Receive([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if again, err := received.Canonical(); err != nil || again != text {
			t.Errorf("%s: %v\n got %s\nwant %s", file, err, again, text)
		}
	}
}

func TestReceiveTrustsNobody(t *testing.T) {
	valid := `{"name": "a", "summary": "s", "owner": "o@example.org", "features": [{"name": "x", "type": "number"}],
		"predictions": [{"name": "y", "type": "number"}], "run": {"python": "p.py:predict"},
		"examples": [{"features": {"x": 1}}]`
	s, err := Receive([]byte(valid + "}"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Batch.RowsPerShard == 0 || s.Timeouts.Start == 0 || s.Scale.Max == 0 || s.Resources.Memory == 0 {
		t.Errorf("defaults lack: %+v", s)
	}
	for _, text := range []string{
		``, `null`, `[]`, `"a"`, `{}`, `{"name": 1}`, valid, valid + "} {}",
		valid + `, "extends": "../base"}`, valid + `, "shared": []}`,
		valid + `, "unknown": 1}`, valid + `, "resources": {"cpu_milli": -1}}`, valid + `, "resources": {"memory_bytes": "x"}}`,
		valid + `, "resources": {"cpu_milli": {"a": 1}}}`, valid + `, "resources": 7}`,
		valid + `, "scale": {"max": -1}}`, valid + `, "timeouts": {"start": "0s"}}`, valid + `, "batch": {"rows_per_shard": 0}}`,
		valid + `, "batch": {"rows_per_shard": 1e300}}`,
	} {
		if _, err := Receive([]byte(text)); modelmanager.CodeOf(err) != modelmanager.CodeInvalidSpec {
			t.Errorf("%.80s…: %v", text[max(0, len(text)-60):], err)
		}
	}
}
