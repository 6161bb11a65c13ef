// Package shims holds the small programs that speak the worker protocol for a
// model, one a language: those of Python and R are put beside a model when it
// starts, those of Java and Go are single source files to copy into a model.
package shims

import _ "embed"

//go:embed python/worker.py
var python []byte

//go:embed r/worker.R
var r []byte

//go:embed java/ModelWorker.java
var java []byte

//go:embed go/worker.go.txt
var golang []byte

// Python returns the program `python worker.py FILE FUNCTION`, which needs
// Python 3.8 and nothing else; with pandas and pyarrow, models get data frames.
func Python() []byte { return python }

// R returns the program `Rscript worker.R FILE FUNCTION`, which needs jsonlite.
func R() []byte { return r }

// Java returns ModelWorker.java, for Java 11.
func Java() []byte { return java }

// Go returns a file of package main, for any Go since 1.21.
func Go() []byte { return golang }
