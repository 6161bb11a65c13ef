package kube

import (
	"log/slog"

	"k8s.io/klog/v2"
)

// LogTo lets what the client of the cluster has to say, of every part of the
// process, be logged where the server logs. It is for programs, not for
// packages.
func LogTo(logger *slog.Logger) { klog.SetSlogLogger(logger.With("from", "the cluster's client")) }
