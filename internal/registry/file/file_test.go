package file

import (
	"testing"
	"time"

	"modelmanager.dev/internal/registry"

	"modelmanager.dev/internal/registry/registrytest"
)

func TestStore(t *testing.T) {
	registrytest.Run(t, registrytest.Driver{
		Shared: true,
		New: func(t *testing.T) registrytest.Open {
			dir := t.TempDir()
			return func(t *testing.T) registry.Store {
				store, err := Open(dir, Options{Poll: 5 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				return store
			}
		},
	})
}
