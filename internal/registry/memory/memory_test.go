package memory_test

import (
	"testing"

	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/registry/memory"
	"modelmanager.dev/internal/registry/registrytest"
)

func TestStore(t *testing.T) {
	registrytest.Run(t, registrytest.Driver{
		New: func(*testing.T) registrytest.Open {
			return func(*testing.T) registry.Store { return memory.New() }
		},
	})
}
