package storage

import (
	"strings"
	"unicode/utf8"

	"modelmanager.dev"
)

// scratch is the folder of unfinished files in a bucket of files; no key lies in it.
const scratch = ".mm-tmp"

// escaped begins what gocloud.dev/blob writes for characters that a medium
// doesn't take, and reads as those: in a key of ours it would mean another.
const escaped = "__0x"

const maxKey = 1024 // bytes; what S3 allows, too

// checkKey refuses keys that could mean another object on some medium: only
// plain relative paths pass.
func checkKey(key string) error {
	why := ""
	switch {
	case key == "":
		why = "it is empty"
	case len(key) > maxKey:
		why = "it is longer than 1024 bytes"
	case !utf8.ValidString(key):
		why = "it is not UTF-8"
	case strings.ContainsAny(key, "\\\x7f") || strings.IndexFunc(key, func(r rune) bool { return r < ' ' }) >= 0:
		why = "it has a backslash or a control character"
	case strings.Contains(key, escaped):
		why = "it has " + escaped + " in it"
	default:
		for i, part := range strings.Split(key, "/") {
			switch {
			case part == "" || part == "." || part == "..":
				why = "it is not a plain relative path"
			case len(part) > 255:
				why = "a name in it is longer than 255 bytes"
			case i == 0 && part == scratch:
				why = "that folder is reserved"
			}
		}
	}
	if why != "" {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the object key %q can't be used: %s", key, why)
	}
	return nil
}
