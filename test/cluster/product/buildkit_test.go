package product_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelmanager.dev/test/buildkit"
)

// dockerfile: a model whose author wrote a Dockerfile is built by BuildKit when
// it is published, and answers what its examples say.
func (i *installation) dockerfile(t *testing.T) {
	const model = "delivery-days"
	dir := filepath.Join(t.TempDir(), model)
	if err := os.CopyFS(dir, os.DirFS("testdata/dockerfile")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(strings.ReplaceAll(string(text), "BASE", i.Base("python"))), 0o644); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"publish", "--insecure-registry", i.Registry, dir}
	without := i.program(t.Context(), i.mm, arguments...)
	if output, err := without.CombinedOutput(); err == nil || !strings.Contains(string(output), "BUILDKIT_HOST") {
		t.Errorf("without BuildKit: %v\n%s", err, output)
	}
	daemon := buildkit.Start(t, buildkit.Options{Plain: []string{i.Registry}})
	arguments = append(arguments, "--buildkit", daemon.Address)
	begun := time.Now()
	t.Log(i.run(t, arguments...))
	t.Logf("built and published in %s", time.Since(begun).Round(time.Millisecond))
	i.answersItsExamples(t, model)
	if again := i.run(t, arguments...); !strings.Contains(again, "version 1 (published before") {
		t.Errorf("published again: %s", again)
	}
	// A version that answers other than its examples say takes no traffic.
	settings := filepath.Join(dir, "model.yaml")
	edit(t, settings, "days: 2.5", "days: 2")
	wrong := i.program(t.Context(), i.mm, arguments...)
	if output, err := wrong.CombinedOutput(); err == nil || !strings.Contains(string(output), "version 2 of delivery-days is published, but takes no traffic") || !strings.Contains(string(output), "days is 2.5, and should be 2") {
		t.Errorf("with a wrong example: %v\n%s", err, output)
	}
	if info, err := i.api.Model(t.Context(), model); err != nil || info.Latest != 2 || info.Traffic.Now().Largest() != 1 {
		t.Errorf("with a wrong example the model is %+v (%v)", info, err)
	}
	edit(t, settings, "days: 2", "days: 2.5")
	// A step that fails changes nothing.
	edit(t, filepath.Join(dir, "coefficients.csv"), "0.01", "far")
	failing := i.program(t.Context(), i.mm, arguments...)
	if output, err := failing.CombinedOutput(); err == nil || !strings.Contains(string(output), "Dockerfile, line 4") || !strings.Contains(string(output), "could not convert string to float: 'far'") {
		t.Errorf("with a step that fails: %v\n%s", err, output)
	}
	i.answersItsExamples(t, model)
}
