package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"modelmanager.dev/bench/report"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/file"
)

// fileRows measures how long a registry takes to read its models from files,
// and what the heap then holds, the file store's own part included.
func fileRows(ctx context.Context, models int) ([]report.Row, error) {
	dir, err := os.MkdirTemp("", "registry-benchmark-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := writeFiles(dir, models); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	before := heap()
	start := time.Now()
	store, err := file.Open(dir, file.Options{})
	if err != nil {
		cancel()
		return nil, err
	}
	r := registry.New(store, registry.Options{})
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	err = r.WaitSynced(ctx)
	took := time.Since(start)
	perModel := float64(heap()-before) / float64(models)
	cancel()
	<-ended
	if err != nil {
		return nil, err
	}
	return []report.Row{
		{What: fmt.Sprintf("registry: read %d models from files", models), Ours: report.Duration(took), Reach: "seconds"},
		{What: "registry: heap a model, file store included", Ours: report.Bytes(perModel), Reach: "≤ 2 KB", Aim: "≤ 600 B"},
	}, store.Close()
}

// writeFiles writes models as the file store keeps them, without waiting for
// the disk at each.
func writeFiles(dir string, models int) error {
	for i := range models {
		m := model(i)
		folder := filepath.Join(dir, "models", m.Name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		data, err := json.MarshalIndent(m, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "model.json"), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
