// Package environment builds what a model's language needs to run it, once per
// lock file: a Python environment, an R library. Java, Go and other programs
// are built by build.command when a model is published, and need none.
package environment

// Environment is what a worker is started with.
type Environment struct {
	Hash   string   `json:"hash,omitempty"`   // of the lock file and the language's version; "" if there is nothing to build
	Python string   `json:"python,omitempty"` // the interpreter's path
	R      string   `json:"r,omitempty"`      // path of Rscript
	Env    []string `json:"env,omitempty"`    // NAME=value, added to the worker's
}
