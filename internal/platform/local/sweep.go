package local

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// sweep ends what a killed server's agents have left behind, and removes their
// run folders. The folder is locked: nobody else's agents are in it.
func sweep(runDir string, logger *slog.Logger) error {
	entries, err := os.ReadDir(runDir)
	if err != nil {
		return fmt.Errorf("sweeping what was left behind: %w", err)
	}
	if len(entries) == 0 {
		return nil
	}
	killed, err := endThoseOf(runDir)
	errs := []error{err}
	for _, entry := range entries {
		errs = append(errs, removeAll(filepath.Join(runDir, entry.Name())))
	}
	logger.Info("swept what another server left behind", "agents", len(entries), "processes", killed)
	return errors.Join(errs...)
}
