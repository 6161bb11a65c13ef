package image

import (
	"archive/tar"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// precompile adds bytecode to a folder of Python packages: a pod's file system
// is read-only, and without it each start would compile anew what it imports,
// for seconds. The base's own Python does it, run right here by the base's own
// loader, so that the bytecode depends on the base alone and on no machine. Where
// the base's programs can't run, there will be no bytecode, and starts are slower.
func (b *Base) precompile(ctx context.Context, contents *Contents, tree, scratch string, at Place) error {
	if runtime.GOOS != b.config.OS || runtime.GOARCH != b.config.Architecture {
		at.say("packages are not compiled: the base's Python doesn't run on %s/%s; the model will start more slowly", runtime.GOOS, runtime.GOARCH)
		return nil
	}
	python, _, err := contents.Python(b)
	if err != nil {
		return err
	}
	at.say("compiling the packages")
	system := filepath.Join(scratch, "base")
	if err := b.extract(ctx, system); err != nil {
		return err
	}
	if _, err := runIn(ctx, system, python); err != nil {
		at.say("packages are not compiled: %v; the model will start more slowly", err)
		return nil
	}
	entries, err := os.ReadDir(tree)
	if err != nil {
		return fmt.Errorf("compiling the Python packages: %w", err)
	}
	// Each process compiles the same files in the same order on every machine,
	// however many run at once: what Python writes may depend on what it has
	// seen before.
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for _, entry := range entries {
		if !entry.IsDir() && !strings.HasSuffix(entry.Name(), ".py") {
			continue
		}
		group.Go(func() error {
			command, err := runIn(ctx, system, python)
			if err != nil {
				return err
			}
			return compileWith(ctx, command, tree, filepath.Join(tree, entry.Name()))
		})
	}
	return group.Wait()
}

// compileWith compiles a package or a module. Neither times nor sizes of sources
// will be looked at: they never change. Packages' own tests are left alone.
func compileWith(ctx context.Context, command *exec.Cmd, tree, source string) error {
	command.Args = append(command.Args, "-S", "-s", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
		"-x", "/tests/", "-s", tree, "-p", EnvironmentDir, source)
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return nil // some file isn't for this Python; importing it would fail, too
	case err != nil:
		return fmt.Errorf("compiling the Python packages with the base image's Python: %w: %.500s", err, output)
	}
	return nil
}

// runIn makes a command of a program of an image that was extracted to system.
func runIn(ctx context.Context, system, program string) (*exec.Cmd, error) {
	root, err := os.OpenRoot(system)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(inImage(program))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	binary, err := elf.NewFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s is no program of Linux: %w", program, err)
	}
	loader := ""
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP {
			text, err := io.ReadAll(io.LimitReader(segment.Open(), 4096))
			if err != nil {
				return nil, err
			}
			loader = strings.TrimRight(string(text), "\x00")
		}
	}
	if loader == "" {
		return nil, fmt.Errorf("%s names no loader", program)
	}
	if _, err := root.Stat(inImage(loader)); err != nil {
		return nil, err
	}
	var libraries []string
	for _, dir := range []string{"lib", "usr/lib", "lib64", "usr/lib64", "usr/local/lib"} {
		full := filepath.Join(system, dir)
		libraries = append(libraries, full, filepath.Join(full, machineLibraries()))
	}
	prefix := filepath.Join(system, path.Dir(path.Dir(inImage(program))))
	command := exec.CommandContext(ctx, filepath.Join(system, loader), "--library-path", strings.Join(libraries, ":"), filepath.Join(system, program))
	command.Dir = system
	command.Env = []string{"PYTHONHOME=" + prefix, "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=", "LC_ALL=C.UTF-8", "PATH=/nowhere", "HOME=" + system}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = 5 * time.Second
	return command, nil
}

func machineLibraries() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64-linux-gnu"
	}
	return "x86_64-linux-gnu"
}

// runtimes are the folders of an image that programs need to run.
var runtimes = []string{"lib", "lib64", "usr/lib", "usr/lib64", "usr/bin", "usr/local", "bin", "opt"}

// extract unpacks what programs of a base need to run.
func (b *Base) extract(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	layers, err := b.image.Layers()
	if err != nil {
		return explain(ctx, err, "reading the base image %s", b.Reference)
	}
	for _, layer := range layers {
		plain, err := layer.Uncompressed()
		if err != nil {
			return explain(ctx, err, "reading the base image %s", b.Reference)
		}
		err = extractLayer(ctx, root, tar.NewReader(plain))
		plain.Close()
		if err != nil {
			return explain(ctx, err, "unpacking the base image %s", b.Reference)
		}
	}
	return nil
}

func extractLayer(ctx context.Context, root *os.Root, in *tar.Reader) error {
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name := inImage(header.Name)
		if !needed(name) {
			continue
		}
		if err := extractEntry(root, name, header, in); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

func needed(name string) bool {
	for _, dir := range runtimes {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

func extractEntry(root *os.Root, name string, header *tar.Header, content io.Reader) error {
	dir, file := path.Split(name)
	if away, ok := strings.CutPrefix(file, ".wh."); ok {
		if away == ".wh..opq" {
			return emptyFolder(root, dir)
		}
		return root.RemoveAll(dir + away)
	}
	if dir != "" {
		if err := root.MkdirAll(path.Clean(dir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if header.Typeflag == tar.TypeDir {
		if _, err := root.Stat(name); err == nil {
			return nil // a link to a folder stays one
		}
		return root.MkdirAll(name, 0o755)
	}
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeSymlink:
		return root.Symlink(insideLink(name, header.Linkname), name)
	case tar.TypeLink:
		return root.Link(inImage(header.Linkname), name)
	case tar.TypeReg:
		out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(header.Mode&0o755)|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, content)
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
		return err
	}
	return nil // devices and pipes serve nothing here
}

func emptyFolder(root *os.Root, dir string) error {
	entries, err := fs.ReadDir(root.FS(), path.Clean(dir))
	if err != nil {
		return nil // it isn't there
	}
	for _, entry := range entries {
		if err := root.RemoveAll(path.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// insideLink writes a link's target so that it stays within the image.
func insideLink(name, target string) string {
	if !path.IsAbs(target) {
		return target
	}
	relative, err := filepath.Rel("/"+path.Dir(name), path.Clean(target))
	if err != nil {
		return target
	}
	return relative
}
