package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"modelmanager.dev"
)

// Contents is what a base image has that models may need. It is found out by
// reading the image's layers, once.
type Contents struct {
	Pythons  map[string]string `json:"pythons"`  // "/usr/bin/python3" → what it links to, "" for a file
	Libc     string            `json:"libc"`     // "glibc 2.36", "musl 1.2"; "" if it has none
	Debian   map[string]string `json:"debian"`   // package of Debian → its version
	RLibrary map[string]string `json:"rlibrary"` // package of R → its version
}

// scanned is raised when a scan finds out more than before.
const scanned = 1

// Contents reads what a base image has. It is kept in the cache.
func (c *Cache) Contents(ctx context.Context, base *Base) (*Contents, error) {
	if base.Digest == "" {
		return &Contents{}, nil
	}
	key := fmt.Sprintf("base-%d-%s.json", scanned, strings.TrimPrefix(base.Digest, "sha256:"))
	found := new(Contents)
	if data, err := c.read(key); err == nil && json.Unmarshal(data, found) == nil {
		return found, nil
	}
	s := &scan{contents: Contents{Pythons: map[string]string{}, Debian: map[string]string{}, RLibrary: map[string]string{}}}
	if err := s.all(ctx, base); err != nil {
		return nil, err
	}
	data, err := json.Marshal(s.contents)
	if err != nil {
		return nil, err
	}
	return &s.contents, c.write(key, data)
}

// scan goes through an image's layers from the top to the bottom: the first
// that has a file, or says that it is gone, is right.
type scan struct {
	contents Contents
	seen     map[string]bool
	gone     []string // folders and files that upper layers took away
}

func (s *scan) all(ctx context.Context, base *Base) error {
	layers, err := base.image.Layers()
	if err != nil {
		return explain(ctx, err, "reading the base image %s", base.Reference)
	}
	s.seen = map[string]bool{}
	for i := len(layers) - 1; i >= 0; i-- {
		plain, err := layers[i].Uncompressed()
		if err != nil {
			return explain(ctx, err, "reading the base image %s", base.Reference)
		}
		err = s.layer(ctx, tar.NewReader(plain))
		plain.Close()
		if err != nil {
			return explain(ctx, err, "reading the base image %s", base.Reference)
		}
	}
	return nil
}

func (s *scan) layer(ctx context.Context, in *tar.Reader) error {
	var gone []string
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			s.gone = append(s.gone, gone...)
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name := inImage(header.Name)
		dir, file := path.Split(name)
		if away, ok := strings.CutPrefix(file, ".wh."); ok {
			if away == ".wh..opq" {
				away = ""
			}
			gone = append(gone, dir+away)
			continue
		}
		if header.Typeflag == tar.TypeDir || s.seen[name] || s.isGone(name) {
			continue
		}
		s.seen[name] = true
		if err := s.file(name, header, in); err != nil {
			return err
		}
	}
}

func (s *scan) isGone(name string) bool {
	for _, gone := range s.gone {
		if name == gone || strings.HasPrefix(name, strings.TrimSuffix(gone, "/")+"/") {
			return true
		}
	}
	return false
}

var (
	pythonName   = regexp.MustCompile(`^python3(\.\d+)?$`)
	oldLibc      = regexp.MustCompile(`^libc-(2\.\d+)\.so$`)
	libcRelease  = regexp.MustCompile(`GNU C Library [^\n]*release version (\d+\.\d+)`)
	description  = regexp.MustCompile(`/(?:site-library|library)/([A-Za-z0-9.]+)/DESCRIPTION$`)
	versionField = regexp.MustCompile(`(?m)^Version:\s*(\S+)`)
)

// most is the size of the files that a scan looks into.
const most = 16 << 20

func (s *scan) file(name string, header *tar.Header, content io.Reader) error {
	dir, file := path.Split(name)
	found := &s.contents
	read := func() ([]byte, error) { return io.ReadAll(io.LimitReader(content, most)) }
	switch {
	case pythonName.MatchString(file):
		target := header.Linkname
		if header.Typeflag == tar.TypeLink {
			target = "/" + inImage(target)
		}
		found.Pythons["/"+name] = target
	case strings.HasPrefix(file, "ld-musl-"):
		found.Libc = "musl 1.2"
	case oldLibc.MatchString(file):
		found.Libc = "glibc " + oldLibc.FindStringSubmatch(file)[1]
	case file == "libc.so.6" && header.Typeflag == tar.TypeReg:
		data, err := read()
		if match := libcRelease.FindSubmatch(data); match != nil {
			found.Libc = "glibc " + string(match[1])
		}
		return err
	case name == "var/lib/dpkg/status" || dir == "var/lib/dpkg/status.d/":
		data, err := read()
		debianPackages(data, found.Debian)
		return err
	case description.MatchString("/" + name):
		data, err := read()
		if match := versionField.FindSubmatch(data); match != nil {
			found.RLibrary[description.FindStringSubmatch("/" + name)[1]] = string(match[1])
		}
		return err
	}
	return nil
}

// debianPackages reads dpkg's list of what is installed.
func debianPackages(status []byte, packages map[string]string) {
	for paragraph := range bytes.SplitSeq(status, []byte("\n\n")) {
		var name, version string
		installed := true
		for line := range strings.Lines(string(paragraph)) {
			key, value, _ := strings.Cut(line, ":")
			switch value = strings.TrimSpace(value); key {
			case "Package":
				name = value
			case "Version":
				version = value
			case "Status":
				installed = strings.HasSuffix(value, " installed")
			}
		}
		if name != "" && installed {
			packages[name] = version
		}
	}
}

// Python finds the Python 3 that a base's PATH leads to: its path and its
// version, "3.11".
func (c *Contents) Python(base *Base) (program, version string, err error) {
	for _, dir := range base.searchPath() {
		at := path.Join(dir, "python3")
		for range 10 { // links
			target, there := c.Pythons[at]
			if !there {
				break
			}
			if minor, ok := strings.CutPrefix(path.Base(at), "python3."); ok && target == "" {
				return at, "3." + minor, nil
			}
			if target == "" {
				return "", "", modelmanager.Errorf(modelmanager.CodeBadRequest,
					"the base image %s doesn't say which Python its %s is; make it a link to python3.11 or so", base.Reference, at)
			}
			if !path.IsAbs(target) {
				target = path.Join(path.Dir(at), target)
			}
			at = target
		}
	}
	return "", "", modelmanager.Errorf(modelmanager.CodeBadRequest,
		"the base image %s has no python3 in its PATH; name another one with --base python=IMAGE", base.Reference)
}
