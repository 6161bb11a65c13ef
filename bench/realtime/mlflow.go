package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed save.py
var saveScript string

// The versions of the model's own lock file, where both have a package.
var packages = []string{"mlflow==3.17.2", "scikit-learn==1.6.1", "pandas==2.3.3", "numpy==2.2.6"}

// mlflow is a running `mlflow models serve`.
type mlflow struct {
	url string
	cmd *exec.Cmd
}

// startMLflow saves the model as MLflow's and serves it, in a virtual
// environment that is made once.
func startMLflow(ctx context.Context, dir, model string) (_ *mlflow, err error) {
	venv, err := environment(ctx)
	if err != nil {
		return nil, err
	}
	saved := filepath.Join(dir, "mlflow-model")
	if err := os.RemoveAll(saved); err != nil {
		return nil, err
	}
	script := filepath.Join(dir, "save.py")
	if err := os.WriteFile(script, []byte(saveScript), 0o644); err != nil {
		return nil, err
	}
	if output, err := exec.CommandContext(ctx, filepath.Join(venv, "bin", "python"), script, model, saved).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("saving the model as MLflow's: %w\n%s", err, output)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "mlflow.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	m := &mlflow{
		url: "http://127.0.0.1:" + port + "/invocations",
		cmd: exec.CommandContext(ctx, filepath.Join(venv, "bin", "mlflow"), "models", "serve", "-m", saved,
			"--env-manager", "local", "-h", "127.0.0.1", "-p", port),
	}
	bin := filepath.Join(venv, "bin")
	m.cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "MLFLOW_DISABLE_TELEMETRY=true")
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	m.cmd.Cancel = func() error { return syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL) }
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	if err := m.await(ctx, "http://127.0.0.1:"+port+"/ping"); err != nil {
		m.stop()
		return nil, fmt.Errorf("%w; see %s", err, log.Name())
	}
	return m, nil
}

func (m *mlflow) await(ctx context.Context, ping string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		reply, err := http.Get(ping)
		if err == nil {
			reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("mlflow models serve is not ready: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (m *mlflow) stop() {
	_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
	_ = m.cmd.Wait()
}

// environment returns the virtual environment with MLflow in it.
func environment(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	venv := filepath.Join(cache, "modelmanager-bench", "mlflow")
	wanted := strings.Join(packages, "\n")
	if has, err := os.ReadFile(filepath.Join(venv, "packages.txt")); err == nil && string(has) == wanted {
		return venv, nil
	}
	if err := os.RemoveAll(venv); err != nil {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "installing", strings.Join(packages, ", "), "into", venv)
	for _, args := range [][]string{
		{"python3", "-m", "venv", venv},
		append([]string{filepath.Join(venv, "bin", "pip"), "install", "-q"}, packages...),
	} {
		if output, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, output)
		}
	}
	return venv, os.WriteFile(filepath.Join(venv, "packages.txt"), []byte(wanted), 0o644)
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}
