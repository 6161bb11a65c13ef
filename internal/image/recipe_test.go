package image

import "testing"

func TestPlain(t *testing.T) {
	r := NewRegistry(Options{Insecure: []string{"registry.test:5000"}})
	for repository, want := range map[string]bool{
		"127.0.0.1:5000/models/iris": true, "localhost/models/iris": true, "[::1]:5000/models/iris": true, "[::1]/iris": true,
		"registry.test:5000/models/iris": true, "registry.test/models/iris": false, "registry.test:5001/iris": false,
		"registry.example.org/localhost/iris": false, "localhost.example.org/iris": false,
	} {
		if got := r.Plain(repository); got != want {
			t.Errorf("%s may be spoken to without TLS: %t, want %t", repository, got, want)
		}
	}
}
