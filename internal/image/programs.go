package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"modelmanager.dev"
	"modelmanager.dev/internal/archive"
)

// Program is an image of one static program.
type Program struct {
	Title string
	// Files are what is in it, by path in the image ("mm-agent") → the file
	// here. All can be run.
	Files map[string]string
	// Certificates are the authorities that the program trusts, one file.
	Certificates string
	Entrypoint   []string
}

// certificates is where programs of Go look for authorities first.
const certificates = "etc/ssl/certs/ca-certificates.crt"

// Agent is the image of the agent, which the platform brings into every pod.
func Agent(file string) Program {
	return Program{Title: "Model Manager's agent", Files: map[string]string{"mm-agent": file}}
}

// Server is the image of the server; "" of certificates are this machine's.
func Server(file, authorities string) Program {
	if authorities == "" {
		authorities = "/" + certificates
	}
	return Program{Title: "Model Manager", Files: map[string]string{"mm": file}, Certificates: authorities, Entrypoint: []string{"/mm"}}
}

// Build makes a program's image, from scratch.
func (p Program) Build(platform string) (*Image, error) {
	wanted, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	base, err := scratch(wanted)
	if err != nil {
		return nil, err
	}
	var files []archive.File
	for _, name := range sortedNames(p.Files) {
		file, err := fileOf(name, p.Files[name], true)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	if p.Certificates != "" {
		file, err := fileOf(certificates, p.Certificates, false)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
				"there are no certificates in %s; install them (on Debian: apt install ca-certificates), or name the file", p.Certificates)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	layer, err := filesLayer("", files)
	if err != nil {
		return nil, err
	}
	return Assemble(base, []Layer{{layer, p.Title}}, Config{Title: p.Title, Entrypoint: p.Entrypoint, WorkingDir: "/"})
}

func sortedNames(files map[string]string) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func fileOf(name, from string, executable bool) (archive.File, error) {
	info, err := os.Stat(from)
	if err != nil {
		return archive.File{}, fmt.Errorf("reading a program's file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return archive.File{}, modelmanager.Errorf(modelmanager.CodeBadRequest, "%s is no file", from)
	}
	return archive.File{
		Path: name, Size: info.Size(), Executable: executable,
		Open: func() (io.ReadCloser, error) { return os.Open(from) },
	}, nil
}

// PushAs pushes an image under a name with a tag, whatever the tag named before,
// and returns its reference by digest. Models' images have Push and Tag instead.
func (r *Registry) PushAs(ctx context.Context, img *Image, reference string) (string, error) {
	ref, err := r.parse(reference)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, img.image, r.options(ctx)...); err != nil {
		return "", explain(ctx, err, "pushing an image to %s", reference)
	}
	return ref.Context().Digest(img.Digest).Name(), nil
}
