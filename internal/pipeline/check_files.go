package pipeline

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"modelmanager.dev/internal/spec"
)

// Limits of a model's files. What is larger belongs into object storage, and
// under `files:`.
const (
	largestFile   = 100 << 20 // of the folder; GitHub takes no larger ones
	largestFolder = 1 << 30   // all files together
)

// checkFiles finds what is wrong with the files of a folder, apart from what
// they mean: pointers of Git LFS, files that are too large, secrets.
func checkFiles(folder *spec.Folder) []Finding {
	var findings []Finding
	var total int64
	for _, file := range folder.Files {
		total += file.Size
		if file.Size > largestFile {
			findings = append(findings, Finding{
				Code: FoundLarge, Severity: SeverityError, File: file.Source,
				Message:    fmt.Sprintf("the file has %s; a model's folder takes files of at most %s", sizeText(file.Size), sizeText(largestFile)),
				Suggestion: "put it into object storage and name it under `files`, with its sha256; or into .mmignore, if the model doesn't need it",
			})
			continue
		}
		if file.Size <= pointerSize && isPointer(file.Source) {
			findings = append(findings, Finding{
				Code: FoundPointer, Severity: SeverityError, File: file.Source, Line: 1, Column: 1,
				Message:    "this is a pointer of Git LFS, not the file itself",
				Suggestion: "fetch it: git lfs pull (in CI: check out with LFS, such as `lfs: true` of actions/checkout)",
			})
		}
	}
	if total > largestFolder {
		findings = append(findings, Finding{
			Code: FoundLarge, Severity: SeverityError, File: folder.Root,
			Message:    fmt.Sprintf("the model's files have %s together; at most %s can be published", sizeText(total), sizeText(largestFolder)),
			Suggestion: "name what doesn't belong to the model in .mmignore, and put large files into object storage, under `files`",
		})
	}
	return append(findings, checkSecrets(folder)...)
}

// pointerSize is more than a pointer of Git LFS has, in bytes.
const pointerSize = 1 << 10

func isPointer(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	head := make([]byte, 64)
	n, _ := io.ReadFull(file, head)
	return bytes.HasPrefix(head[:n], []byte("version https://git-lfs.github.com/spec/v1"))
}

func sizeText(bytes int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if bytes >= unit.size {
			value := float64(bytes) / float64(unit.size)
			if value >= 100 || value == float64(int64(value)) {
				return fmt.Sprintf("%.0f %s", value, unit.name)
			}
			return fmt.Sprintf("%.1f %s", value, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", bytes)
}

// checkFolder finds what can be told of a folder without running the model,
// beyond what spec.LoadFolder does.
func checkFolder(folder *spec.Folder) []Finding {
	return append(checkFiles(folder), checkRequirements(folder)...)
}
