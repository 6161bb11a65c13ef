package spec

import "path"

// fileName is what a model's file is called.
const fileName = "model.yaml"

func cleanPath(p string) string { return path.Clean(p) }
