package worker

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shims"
)

// program names what the worker runs, for reasons: predict.py, or the command.
func (o *Options) program() string {
	run := o.Spec.Run
	switch {
	case run.Python != "":
		file, _ := splitFunction(run.Python)
		return file
	case run.R != "":
		file, _ := splitFunction(run.R)
		return file
	case run.HTTP != nil && len(run.HTTP.Command) > 0:
		return run.HTTP.Command[0]
	case run.Job != nil && len(run.Job.Command) > 0:
		return run.Job.Command[0]
	case len(run.Command) > 0:
		return run.Command[0]
	}
	return "the worker"
}

func splitFunction(run string) (file, function string) {
	at := strings.LastIndexByte(run, ':')
	if at < 0 {
		return run, "predict"
	}
	return run[:at], run[at+1:]
}

// argv returns the command that starts the worker. It writes the shim into the
// run directory where one is needed.
func (o *Options) argv() ([]string, error) {
	run := o.Spec.Run
	switch {
	case run.Python != "":
		file, function := splitFunction(run.Python)
		shim, err := o.writeShim("worker.py", shims.Python())
		if err != nil {
			return nil, err
		}
		return []string{o.python(), shim, file, function}, nil
	case run.R != "":
		file, function := splitFunction(run.R)
		shim, err := o.writeShim("worker.R", shims.R())
		if err != nil {
			return nil, err
		}
		interpreter := o.Environment.R
		if interpreter == "" {
			interpreter = "Rscript"
		}
		return []string{interpreter, "--no-save", "--no-restore", "--no-init-file", shim, file, function}, nil
	case run.HTTP != nil:
		return run.HTTP.Command, nil
	case run.Job != nil:
		return run.Job.Command, nil
	case len(run.Command) > 0:
		return run.Command, nil
	}
	return nil, modelmanager.Errorf(modelmanager.CodeInvalidSpec, "the spec's run names nothing to run")
}

func (o *Options) python() string {
	if o.Environment.Python != "" {
		return o.Environment.Python
	}
	return "python3"
}

func (o *Options) writeShim(name string, text []byte) (string, error) {
	directory := filepath.Join(o.RunDir, "shim")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return "", fmt.Errorf("writing the worker's shim: %w", err)
	}
	path := filepath.Join(directory, name)
	temporary := path + ".new"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return "", fmt.Errorf("writing the worker's shim: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return "", fmt.Errorf("writing the worker's shim: %w", err)
	}
	return path, nil
}

// threadVariables are how numerical libraries are told their number of threads.
var threadVariables = [...]string{
	"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
	"NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS", "GOMAXPROCS",
}

// environ returns the worker's whole environment: what is named here, and
// nothing of the agent's own but its path.
func (o *Options) environ() ([]string, error) {
	params := []byte("{}")
	if len(o.Spec.Params) > 0 {
		var err error
		if params, err = json.Marshal(o.Spec.Params); err != nil {
			return nil, fmt.Errorf("writing the model's params: %w", err)
		}
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	if o.Environment.Python != "" {
		path = filepath.Dir(o.Environment.Python) + ":" + path
	}
	e := newEnviron()
	e.set("PATH", path)
	e.set("HOME", o.RunDir)
	e.set("TMPDIR", o.RunDir)
	e.set("LANG", "C.UTF-8")
	threads := strconv.FormatInt(max(1, o.Spec.Resources.CPU/1000), 10)
	for _, name := range threadVariables {
		e.set(name, threads)
	}
	e.set("PYTHONUNBUFFERED", "1")
	e.set("PYTHONDONTWRITEBYTECODE", "1")
	e.set("PYTHONFAULTHANDLER", "1")
	e.add(o.Environment.Env)
	for _, name := range slices.Sorted(maps.Keys(o.Spec.Env)) {
		e.set(name, o.Spec.Env[name])
	}
	for _, secret := range o.Spec.Secrets {
		if value, ok := o.Secrets[secret.Env]; ok {
			e.set(secret.Env, value)
		}
	}
	e.set("MM_PARAMS", string(params))
	e.set("MM_MODEL", o.Model)
	e.set("MM_VERSION", strconv.Itoa(o.Version))
	return e.list(), nil
}
