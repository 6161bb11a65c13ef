package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/image"
	"modelmanager.dev/internal/spec"
)

// static is the language of programs that need nothing of their image.
const static = "static"

// base finds the base image of a language.
func (i *Images) base(ctx context.Context, s *spec.Spec, language string) (*image.Base, error) {
	reference := i.reference(s, language)
	if reference == "" && language == static {
		reference = image.Scratch
	}
	if reference == "" {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"making the image of %s: there is no base image for %s; name one with --base %s=IMAGE or $%s, or ask the server's operator to%s",
			s.Name, language, language, baseVariable(language), alternatives(i.Bases))
	}
	base, err := i.registry.Base(ctx, reference, i.Platform)
	if err != nil {
		return nil, fmt.Errorf("making the image of %s: its base for %s: %w", s.Name, language, err)
	}
	return base, nil
}

// reference is the name of the base for a language, in the version that a model
// asks for if there is one of its own.
func (i *Images) reference(s *spec.Spec, language string) string {
	version := ""
	if s.Build != nil {
		version = s.Build.Version
	}
	for version != "" {
		if reference := i.Bases[language+version]; reference != "" {
			return reference
		}
		version = version[:max(0, strings.LastIndex(version, "."))]
	}
	return i.Bases[language]
}

func alternatives(bases map[string]string) string {
	if len(bases) == 0 {
		return ""
	}
	return fmt.Sprintf(" (there are bases for %s)", strings.Join(slices.Sorted(maps.Keys(bases)), ", "))
}

// basePrefix begins the variables that name base images: MM_BASE_PYTHON, or
// MM_BASE_PYTHON3_12 for python3.12.
const basePrefix = "MM_BASE_"

func baseVariable(language string) string {
	return basePrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(language))
}

// BasesOf puts bases together: of the server, of variables NAME=value, of a
// command's flags LANGUAGE=IMAGE; later ones count.
func BasesOf(server map[string]string, environ, flags []string) (map[string]string, error) {
	bases := maps.Clone(server)
	if bases == nil {
		bases = map[string]string{}
	}
	for _, variable := range environ {
		if rest, ok := strings.CutPrefix(variable, basePrefix); ok {
			if name, value, _ := strings.Cut(rest, "="); value != "" {
				bases[strings.ReplaceAll(strings.ToLower(name), "_", ".")] = value
			}
		}
	}
	for _, flag := range flags {
		language, reference, _ := strings.Cut(flag, "=")
		if language == "" || reference == "" {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "--base %s: write LANGUAGE=IMAGE, such as python=registry.example.org/python:3.12", flag)
		}
		bases[language] = reference
	}
	return bases, nil
}

// languageOf tells what a prepared model's program needs of its image.
func languageOf(p *Prepared) (string, error) {
	run := p.Spec.Run
	command := run.Command
	switch {
	case run.Python != "":
		return "python", nil
	case run.R != "":
		return "r", nil
	case run.HTTP != nil:
		command = run.HTTP.Command
	case run.Job != nil:
		command = run.Job.Command
	}
	if len(command) == 0 {
		return "", modelmanager.Errorf(modelmanager.CodeInvalidSpec, "making the image of %s: it has no command", p.Spec.Name)
	}
	program := command[0]
	if !strings.Contains(program, "/") {
		return languageOfProgram(program), nil
	}
	if path.IsAbs(program) {
		return languageOfProgram(path.Base(program)), nil
	}
	file, err := os.Open(filepath.Join(p.Dir, filepath.FromSlash(program)))
	if errors.Is(err, fs.ErrNotExist) {
		return "", modelmanager.Errorf(modelmanager.CodeInvalidSpec,
			"making the image of %s: the program %s is not in its folder, nor does build.command make it", p.Spec.Name, program)
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	first, _ := bufio.NewReaderSize(file, 4096).ReadString('\n')
	interpreter, found := strings.CutPrefix(first, "#!")
	words := strings.Fields(interpreter)
	if !found || len(words) == 0 {
		return static, nil
	}
	name := path.Base(words[0])
	if name == "env" {
		words = slices.DeleteFunc(words[1:], func(word string) bool { return strings.HasPrefix(word, "-") || strings.Contains(word, "=") })
		if len(words) == 0 {
			return static, nil
		}
		name = path.Base(words[0])
	}
	return languageOfProgram(name), nil
}

// pythonServers are programs that packages of Python bring.
var pythonServers = []string{"gunicorn", "uvicorn", "hypercorn", "waitress-serve", "flask", "fastapi", "mlserver", "mlflow", "bentoml", "litserve"}

func languageOfProgram(name string) string {
	switch {
	case name == "python" || strings.HasPrefix(name, "python3") || slices.Contains(pythonServers, name):
		return "python"
	case name == "R" || name == "Rscript":
		return "r"
	}
	return strings.ToLower(name)
}
