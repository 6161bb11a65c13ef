package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"modelmanager.dev/internal/spec"
)

// model is a copy of the example that goes idle soon.
type model struct {
	name   string
	folder string
	row    json.RawMessage
}

// copyModel copies a model's folder, and adds a short scale.idle to its spec.
func copyModel(from, to string) (model, error) {
	var m model
	m.folder = filepath.Join(to, filepath.Base(from))
	if err := os.CopyFS(m.folder, os.DirFS(from)); err != nil {
		return m, fmt.Errorf("copying the model: %w", err)
	}
	loaded, err := spec.LoadFolder(m.folder)
	if err != nil {
		return m, err
	}
	s := loaded.Spec
	if len(s.Examples) == 0 {
		return m, fmt.Errorf("%s has no examples to predict", from)
	}
	m.name = s.Name
	// In the order of the spec, which a DataFrame of it has, too.
	var row strings.Builder
	for i, feature := range s.Features {
		separator := ","
		if i == 0 {
			separator = "{"
		}
		fmt.Fprintf(&row, "%s%q:%s", separator, feature.Name, s.Examples[0].Features[feature.Name])
	}
	m.row = json.RawMessage(row.String() + "}")
	file, err := os.OpenFile(filepath.Join(m.folder, "model.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return m, err
	}
	_, err = file.WriteString("\nscale: {idle: 1s}\n")
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return m, err
}

// interpreter finds the Python of the only environment that a server has built.
func interpreter(environments string) (string, error) {
	found, err := filepath.Glob(filepath.Join(environments, "*", "bin", "python"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("there are %d environments in %s, want one (%v)", len(found), environments, err)
	}
	return filepath.Abs(found[0]) // the process runs in a folder of its own
}

// peer is a fresh process that does what a worker does, by hand.
type peer struct {
	python, folder string
	row            json.RawMessage
}

const script = `
import json, sys
import pandas, sklearn
sys.path.insert(0, ".")
from predict import predict
print(float(predict(pandas.DataFrame([json.loads(sys.argv[1])]))[0]))
`

// run returns how long such a process takes from its start to its end.
func (p peer) run(ctx context.Context) (time.Duration, error) {
	command := exec.CommandContext(ctx, p.python, "-c", script, string(p.row))
	command.Dir = p.folder
	begin := time.Now()
	output, err := command.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("the fresh process: %w: %s", err, output)
	}
	return time.Since(begin), nil
}
