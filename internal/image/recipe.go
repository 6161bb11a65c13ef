package image

import (
	"slices"
	"strings"
)

// Recipe is what an image is built of by running steps, as against assembled.
type Recipe struct {
	Name       string // of what is built, for people
	Dir        string // the folder that the steps take files from
	Dockerfile string // the steps: a path in Dir
	Repository string // where the image is pushed to, by digest
	Plain      bool   // the repository's registry may be spoken to without TLS
	Platform   string // "": DefaultPlatform
	Afresh     bool   // run every step, also those whose results are known
	Progress   func(string)
}

// Plain tells whether a repository's registry may be spoken to without TLS.
func (r *Registry) Plain(repository string) bool {
	host, _, _ := strings.Cut(repository, "/")
	name := host
	if at := strings.LastIndex(host, ":"); at > strings.LastIndex(host, "]") {
		name = host[:at]
	}
	return loopback(strings.Trim(name, "[]")) || slices.Contains(r.insecure, host)
}
