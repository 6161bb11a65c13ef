package image

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"modelmanager.dev"
)

// Bounds of what wheels may unpack to.
const (
	maxUnpacked = 40 << 30
	maxUnpack   = 1_000_000 // files
)

// unpackWheels installs wheels into a new folder, as pip would with --target:
// modules at its top, programs in bin. A wheel is a zip file; nothing of it is
// run. Of a file that several wheels have, the last one's stays, in the order
// of their names.
func unpackWheels(ctx context.Context, wheels, tree string) error {
	entries, err := os.ReadDir(wheels)
	if err != nil {
		return fmt.Errorf("reading the fetched packages: %w", err)
	}
	if err := os.Mkdir(tree, 0o755); err != nil {
		return fmt.Errorf("making a folder for Python packages: %w", err)
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return fmt.Errorf("opening the folder for Python packages: %w", err)
	}
	defer root.Close()
	w := &wheelWriter{root: root, bytes: maxUnpacked, files: maxUnpack}
	for _, entry := range entries { // in the order of their names
		if err := ctx.Err(); err != nil {
			return err
		}
		if !strings.HasSuffix(entry.Name(), ".whl") {
			return modelmanager.Errorf(modelmanager.CodeModelError,
				"%s is no wheel: it would have to be built, and that needs a dockerfile or an image of your own (build.image)", entry.Name())
		}
		if err := w.wheel(filepath.Join(wheels, entry.Name())); err != nil {
			return fmt.Errorf("unpacking %s: %w", entry.Name(), err)
		}
	}
	return nil
}

type wheelWriter struct {
	root  *os.Root
	bytes int64
	files int
}

func (w *wheelWriter) wheel(name string) error {
	archive, err := zip.OpenReader(name)
	if err != nil {
		return damaged(err)
	}
	defer archive.Close()
	// NAME-VERSION-…: what isn't a module lies in NAME-VERSION.data.
	parts := strings.SplitN(filepath.Base(name), "-", 3)
	if len(parts) < 3 {
		return damaged(fmt.Errorf("its name says neither name nor version"))
	}
	for _, file := range archive.File {
		if strings.HasSuffix(file.Name, "/") {
			continue
		}
		if err := w.file(file, parts[0]); err != nil {
			return err
		}
	}
	return w.programs(archive)
}

func damaged(err error) error {
	return modelmanager.Errorf(modelmanager.CodeModelError, "it is damaged: %w", err)
}

// target is where a file of a wheel goes, and whether it is a program.
func target(name, distribution string) (string, bool) {
	first, rest, _ := strings.Cut(name, "/")
	if !strings.HasSuffix(first, ".data") {
		return name, false
	}
	kind, rest, _ := strings.Cut(rest, "/")
	switch kind {
	case "scripts":
		return path.Join("bin", rest), true
	case "headers":
		return path.Join("include", distribution, rest), false
	default: // purelib, platlib, data
		return rest, false
	}
}

func (w *wheelWriter) file(file *zip.File, distribution string) error {
	if !filepath.IsLocal(file.Name) || strings.Contains(file.Name, `\`) {
		return damaged(fmt.Errorf("it has a file %q", file.Name))
	}
	if !file.Mode().IsRegular() {
		return damaged(fmt.Errorf("%s is no plain file", file.Name))
	}
	name, program := target(path.Clean(file.Name), distribution)
	if !filepath.IsLocal(name) {
		return damaged(fmt.Errorf("it has a file %q", file.Name))
	}
	content, err := file.Open()
	if err != nil {
		return damaged(err)
	}
	defer content.Close()
	buffered := bufio.NewReader(content)
	source := io.Reader(buffered)
	if program {
		if first, _ := buffered.Peek(8); bytes.HasPrefix(first, []byte("#!python")) {
			if _, err := buffered.ReadString('\n'); err != nil {
				return damaged(err)
			}
			source = io.MultiReader(strings.NewReader(shebang), buffered)
		}
	}
	return w.write(name, source, program || file.Mode()&0o111 != 0)
}

const shebang = "#!/usr/bin/env python3\n"

func (w *wheelWriter) write(name string, content io.Reader, executable bool) error {
	if w.files--; w.files < 0 {
		return modelmanager.Errorf(modelmanager.CodeTooLarge, "the Python packages have too many files")
	}
	if err := w.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	mode := os.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	file, err := w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	n, err := io.Copy(file, io.LimitReader(content, w.bytes+1))
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if w.bytes -= n; w.bytes < 0 {
		return modelmanager.Errorf(modelmanager.CodeTooLarge, "the Python packages are too large")
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

var entryPoint = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)\s*=\s*([A-Za-z_][\w.]*)\s*:\s*([A-Za-z_][\w.]*)\s*(\[.*\])?$`)

// programs makes the programs that a wheel's entry points ask for.
func (w *wheelWriter) programs(archive *zip.ReadCloser) error {
	i := slices.IndexFunc(archive.File, func(f *zip.File) bool {
		dir, file := path.Split(f.Name)
		return file == "entry_points.txt" && strings.HasSuffix(dir, ".dist-info/") && strings.Count(dir, "/") == 1
	})
	if i < 0 {
		return nil
	}
	content, err := archive.File[i].Open()
	if err != nil {
		return damaged(err)
	}
	defer content.Close()
	lines := bufio.NewScanner(io.LimitReader(content, 1<<20))
	section := ""
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		match := entryPoint.FindStringSubmatch(line)
		if match == nil || section != "[console_scripts]" && section != "[gui_scripts]" {
			continue
		}
		first, _, _ := strings.Cut(match[3], ".")
		script := fmt.Sprintf("%simport sys\nfrom %s import %s\nif __name__ == '__main__':\n    sys.exit(%s())\n", shebang, match[2], first, match[3])
		if err := w.write(path.Join("bin", match[1]), strings.NewReader(script), true); err != nil {
			return err
		}
	}
	return lines.Err()
}
