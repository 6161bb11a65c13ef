package archive

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"modelmanager.dev"
)

// File is one file of a folder.
type File struct {
	Path       string // slash-separated, relative to the folder
	Size       int64
	Executable bool
	Link       string // set: a symbolic link to this path, relative to its own folder
	Open       func() (io.ReadCloser, error)
}

// List returns the files of a folder, sorted. Whatever skip returns true for
// is left out, with all that lies in it; skip may be nil. Folders without
// files are not kept.
func List(dir string, skip func(path string, entry fs.DirEntry) bool) ([]File, error) {
	var files []File
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil || relative == "." {
			return err
		}
		relative = filepath.ToSlash(relative)
		if skip != nil && skip(relative, entry) {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		file, err := describe(name, relative, entry)
		if err == nil {
			files = append(files, file)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the files of %s: %w", dir, err)
	}
	slices.SortFunc(files, byPath)
	return files, nil
}

func describe(name, relative string, entry fs.DirEntry) (File, error) {
	info, err := entry.Info()
	if err != nil {
		return File{}, err
	}
	file := File{Path: relative, Size: info.Size(), Executable: info.Mode()&0o111 != 0}
	switch info.Mode().Type() {
	case 0:
		file.Open = func() (io.ReadCloser, error) { return os.Open(name) }
	case fs.ModeSymlink:
		target, err := os.Readlink(name)
		if err != nil {
			return File{}, err
		}
		file.Link, file.Size, file.Executable = filepath.ToSlash(target), 0, false
	default:
		return File{}, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"%s is neither a file nor a link, and can't be part of a model; leave it out", relative)
	}
	return file, nil
}

func byPath(a, b File) int { return cmp.Compare(a.Path, b.Path) }

// Write packs files, in whatever order they are given, and returns the digest
// of what it wrote, "sha256:…".
func Write(w io.Writer, files []File) (digest string, err error) {
	files = slices.Clone(files)
	slices.SortFunc(files, byPath)
	hash := sha256.New()
	compressed, err := zstd.NewWriter(io.MultiWriter(w, hash), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return "", fmt.Errorf("packing an archive: %w", err)
	}
	out := tar.NewWriter(compressed)
	for i, file := range files {
		if i > 0 && file.Path == files[i-1].Path {
			return "", modelmanager.Errorf(modelmanager.CodeBadRequest, "packing an archive: there are two files %s", file.Path)
		}
		if err := writeFile(out, "", file); err != nil {
			return "", fmt.Errorf("packing %s: %w", file.Path, err)
		}
	}
	if err := out.Close(); err != nil {
		return "", fmt.Errorf("packing an archive: %w", err)
	}
	if err := compressed.Close(); err != nil {
		return "", fmt.Errorf("packing an archive: %w", err)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

// Digest returns the digest of the archive of files, without keeping it.
func Digest(files []File) (string, error) { return Write(io.Discard, files) }

// AppendTo writes files into a tar file, below a folder of it such as "model",
// by the rules of Write. Other than in an archive, every folder has an entry.
func AppendTo(out *tar.Writer, folder string, files []File) error {
	files = slices.Clone(files)
	slices.SortFunc(files, byPath)
	made := map[string]bool{}
	if err := makeFolder(out, folder, made); err != nil {
		return fmt.Errorf("packing %s: %w", folder, err)
	}
	for i, file := range files {
		if i > 0 && file.Path == files[i-1].Path {
			return modelmanager.Errorf(modelmanager.CodeBadRequest, "packing %s: there are two files %s", folder, file.Path)
		}
		err := checkPath(file.Path)
		if err == nil {
			err = makeFolder(out, path.Join(folder, path.Dir(file.Path)), made)
		}
		if err == nil {
			err = writeFile(out, folder, file)
		}
		if err != nil {
			return fmt.Errorf("packing %s: %w", file.Path, err)
		}
	}
	return nil
}

// makeFolder writes the entries of a folder and those that it lies in.
func makeFolder(out *tar.Writer, folder string, made map[string]bool) error {
	if folder == "." || folder == "" || made[folder] {
		return nil
	}
	if err := makeFolder(out, path.Dir(folder), made); err != nil {
		return err
	}
	made[folder] = true
	return out.WriteHeader(&tar.Header{Format: tar.FormatPAX, Name: folder + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0)})
}

// writeFile writes one file below a folder; "": at the top.
func writeFile(out *tar.Writer, folder string, file File) error {
	if err := checkPath(file.Path); err != nil {
		return err
	}
	// PAX, no owner, no times: nothing of the machine gets in.
	header := &tar.Header{Format: tar.FormatPAX, Name: path.Join(folder, file.Path), Typeflag: tar.TypeReg, Size: file.Size, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if file.Executable {
		header.Mode = 0o755
	}
	if file.Link != "" {
		if err := checkLink(file.Path, file.Link); err != nil {
			return err
		}
		header.Typeflag, header.Linkname, header.Size, header.Mode = tar.TypeSymlink, file.Link, 0, 0o777
		return out.WriteHeader(header)
	}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	content, err := file.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	n, err := io.Copy(out, io.LimitReader(content, file.Size))
	if err != nil {
		return err
	}
	if n < file.Size {
		return modelmanager.Errorf(modelmanager.CodeConflict, "the file became shorter while it was read")
	}
	if extra, _ := content.Read(make([]byte, 1)); extra > 0 {
		return modelmanager.Errorf(modelmanager.CodeConflict, "the file became longer while it was read")
	}
	return nil
}

// checkPath refuses what is no plain path inside a folder.
func checkPath(name string) error {
	if name == "" || name == "." || path.IsAbs(name) || path.Clean(name) != name ||
		name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\x00\\") {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "%q is no path of a file inside a folder", name)
	}
	return nil
}

// checkLink refuses links that point out of the folder, as far as their text tells.
func checkLink(name, target string) error {
	to := path.Join(path.Dir(name), target)
	if path.IsAbs(target) || to == ".." || strings.HasPrefix(to, "../") || strings.ContainsRune(target, 0) {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the link %s points to %s, out of the model's folder; a model must be complete in itself", name, target)
	}
	return nil
}
