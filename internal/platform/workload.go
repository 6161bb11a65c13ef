package platform

import "fmt"

// Ref names the workload's version.
func (w Workload) Ref() Ref { return Ref{Model: w.Version.Model, Version: w.Version.Number} }

// String names the version for people.
func (r Ref) String() string { return fmt.Sprintf("version %d of %s", r.Version, r.Model) }
