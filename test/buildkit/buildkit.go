// Package buildkit starts a real BuildKit daemon for tests: with runc, on a unix
// socket, all its files in a temporary folder. It needs root. What it runs lives
// in process and mount namespaces of the daemon's own, and ends with it.
package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"modelmanager.dev/test/buildkit/programs"
	"modelmanager.dev/test/needs"
)

// Options say how the daemon is set up.
type Options struct {
	// Plain are the registries (host:port) that it speaks to without TLS.
	Plain []string
	// TLS is a folder with ca.pem, server.pem and server-key.pem: it listens on
	// loopback with them, and asks callers for a certificate of the authority.
	TLS string
}

// Daemon is a running BuildKit.
type Daemon struct {
	// Address is how clients name it: unix:///…, or tcp://127.0.0.1:PORT.
	Address string

	dir     string
	log     lockedBuffer
	command *exec.Cmd
	ended   chan struct{}
}

// startTimeout bounds how long the daemon may take to listen.
const startTimeout = time.Minute

// Start starts a daemon, and ends it with the test. Where it can't run, the test
// is skipped; it fails if MM_TEST_NO_SKIP is 1.
func Start(t testing.TB, o Options) *Daemon {
	t.Helper()
	if err := lacks(); err != nil {
		needs.Skip(t, err)
	}
	d, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := d.Close()
		if t.Failed() {
			t.Logf("buildkitd said:\n%s", d.Log())
		}
		if err != nil {
			t.Error(err)
		}
	})
	return d
}

// lacks says why a daemon can't run here.
func lacks() error {
	if _, err := programs.Path(); err != nil {
		return err
	}
	if _, err := exec.LookPath("runc"); err != nil {
		return fmt.Errorf("BuildKit needs runc (on Debian: apt install runc): %w", err)
	}
	if os.Geteuid() != 0 {
		return errors.New("BuildKit with runc needs root here")
	}
	return nil
}

// Run starts a daemon, which the caller closes. It listens when Run returns.
func Run(ctx context.Context, o Options) (*Daemon, error) {
	program, err := programs.Path()
	if err != nil {
		return nil, err
	}
	// A short name: the path of a socket has little room.
	dir, err := os.MkdirTemp("", "buildkit-")
	if err != nil {
		return nil, err
	}
	d := &Daemon{Address: "unix://" + filepath.Join(dir, "socket"), dir: dir, ended: make(chan struct{})}
	network, address := "unix", filepath.Join(dir, "socket")
	if o.TLS != "" {
		if network, address, err = freeAddress(); err != nil {
			return nil, err
		}
		d.Address = "tcp://" + address
	}
	config := filepath.Join(dir, "buildkitd.toml")
	if err := os.WriteFile(config, []byte(o.config(dir, d.Address)), 0o600); err != nil {
		return nil, err
	}
	// The first process of the namespace takes all others with it when it ends,
	// and the mounts go with their namespace.
	d.command = exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", program, "--config", config)
	d.command.Stdout, d.command.Stderr = &d.log, &d.log
	d.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(d.ended)
		_ = d.command.Wait()
	}()
	if err := d.wait(ctx, network, address); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close ends the daemon, and removes all that it left.
func (d *Daemon) Close() error {
	d.Kill()
	// The last of what it ran may be ending still, and write.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := os.RemoveAll(d.dir)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("removing what BuildKit left: %w", err)
		case <-ticker.C:
		}
	}
}

// Kill ends the daemon and all that it runs, at once.
func (d *Daemon) Kill() {
	_ = d.command.Process.Kill()
	<-d.ended
}

// Log is what the daemon has written.
func (d *Daemon) Log() string { return d.log.String() }

func (d *Daemon) wait(ctx context.Context, network, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if connection, err := new(net.Dialer).DialContext(ctx, network, address); err == nil {
			return connection.Close()
		}
		select {
		case <-d.ended:
			return fmt.Errorf("buildkitd ended: %s", d.Log())
		case <-ctx.Done():
			return fmt.Errorf("buildkitd doesn't answer: %s", d.Log())
		case <-ticker.C:
		}
	}
}

// config is the daemon's own. It collects no garbage: its folder goes with the
// test. Builds have the machine's network.
func (o Options) config(dir, address string) string {
	var text strings.Builder
	fmt.Fprintf(&text, `root = %q
[grpc]
  address = [%q]
`, filepath.Join(dir, "root"), address)
	if o.TLS != "" {
		fmt.Fprintf(&text, "  [grpc.tls]\n    cert = %q\n    key = %q\n    ca = %q\n",
			filepath.Join(o.TLS, "server.pem"), filepath.Join(o.TLS, "server-key.pem"), filepath.Join(o.TLS, "ca.pem"))
	}
	fmt.Fprintf(&text, `[otel]
  socketPath = %q
[cdi]
  disabled = true
[worker.oci]
  enabled = true
  gc = false
  networkMode = "host"
[worker.containerd]
  enabled = false
`, filepath.Join(dir, "otel"))
	for _, host := range o.Plain {
		fmt.Fprintf(&text, "[registry.%q]\n  http = true\n", host)
	}
	return text.String()
}

func freeAddress() (network, address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	return "tcp", l.Addr().String(), nil
}

type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data.Len() > 1<<20 {
		return len(p), nil
	}
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}
